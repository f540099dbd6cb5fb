//! Why an edge was or was not found in the cache, as data.

use rbuild_oci::Digest;

use crate::key::{Key, Known};
use crate::probe::Probe;

/// How the answer about one edge came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The vertex.
    pub vertex: Digest,
    /// What it is called.
    pub name: String,
    /// Which of its outputs.
    pub output: u32,
    /// The operation's own key.
    pub operation: Digest,
    /// What was asked, in order.
    pub probes: Vec<Probe>,
    /// What is known of each input.
    pub inputs: Vec<ExplainedInput>,
    /// The keys it is known by; none of them need be stored.
    pub keys: Vec<Known>,
    /// How it ended.
    pub verdict: Verdict,
}

/// What is known of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedInput {
    /// The vertex it comes from.
    pub vertex: Digest,
    /// Which output of that vertex.
    pub output: u32,
    /// The part of it that is looked at, if not all; see [`InputMap`](crate::InputMap).
    pub selector: Option<Digest>,
    /// The keys it is known by.
    pub alternatives: Vec<Alternative>,
}

/// A key of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternative {
    /// The key.
    pub known: Known,
    /// The content it stands for, if it is that of the input's content.
    pub content: Option<Digest>,
    /// Where it leads through the operation.
    pub targets: Vec<Key>,
}

/// How the search for an edge ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Its keys were found; its value was not asked for.
    Known(Vec<Key>),
    /// Its keys were not found; its value was not asked for.
    Unknown,
    /// Its value was loaded from this record.
    Loaded(Key),
    /// It had to be made.
    Made(Miss),
}

/// Why an edge had to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    /// The cache was not to be asked.
    Ignored,
    /// The operation has no inputs and its result was never kept, or is gone.
    Unseen,
    /// The result was known once; its record is gone.
    RecordGone(Vec<Key>),
    /// The operation was never done on these inputs: they, or the operation, have changed.
    InputsChanged(Vec<usize>),
    /// The operation was done on each of the inputs, but never on all of them together.
    NeverTogether,
}
