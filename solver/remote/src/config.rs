//! The cache configuration: which steps were done on what, and the layers that came of it.
//!
//! ```text
//! { "layers":  [ { "blob": "sha256:…", "parent": -1 }, { "blob": "sha256:…", "parent": 0 } ],
//!   "records": [ { "digest": "sha256:…", "rbuild": { "version": 1, "kind": "root", … } },
//!                { "digest": "sha256:…", "rbuild": { "version": 1, "kind": "derived", … },
//!                  "inputs": [ [ { "selector": "sha256:…", "link": 0 } ] ],
//!                  "layers": [ { "layer": 1, "createdAt": "…" } ] } ] }
//! ```
//!
//! It is BuildKit's (`application/vnd.buildkit.cacheconfig.v0`), so that tools that know the one can read
//! the other: a record is an operation on inputs; an input is a list of records any of which will do; a result is
//! a layer with all its parents, or (`chains`) a list of layers. The manifest (or index) that holds the layers names
//! their diff ids as annotations.
//!
//! Each record carries a mark of ours with what a key is made of. A record's `digest` is made of
//! the same in a way of ours: BuildKit finds nothing under it. Records without the mark are another
//! program's and are left alone.

use rbuild_oci::Digest;
use serde::{Deserialize, Serialize};

/// The media type of a cache configuration.
pub const MEDIA_TYPE: &str = "application/vnd.buildkit.cacheconfig.v0";
/// The version of marks that this program writes and reads.
pub const VERSION: u32 = 1;
/// The annotation of a layer with the digest of its plain tar.
pub const UNCOMPRESSED: &str = "containerd.io/uncompressed";
/// The annotation of a layer with the time it was made.
pub const CREATED: &str = "buildkit/createdat";

/// A cache configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The layers.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Layer>,
    /// The records.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<Record>,
}

/// A layer: a blob upon another layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The blob's digest.
    pub blob: String,
    /// The layer below, by its place in the list; -1 for none.
    #[serde(default)]
    pub parent: i64,
}

/// A step, or something that steps look at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What other programs know it by.
    #[serde(default)]
    pub digest: String,
    /// What we know it by.
    #[serde(default, rename = "rbuild", skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// For each input the records that it may be.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Vec<Input>>,
    /// Results: layers with all their parents.
    #[serde(default, rename = "layers", deserialize_with = "null_as_empty", skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<LayerResult>,
    /// Results: lists of layers.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "Vec::is_empty")]
    pub chains: Vec<ChainResult>,
}

/// One alternative of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The part that is looked at.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// The record, by its place in the list.
    #[serde(default)]
    pub link: i64,
}

/// A result: a layer with all its parents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerResult {
    /// The layer, by its place in the list.
    #[serde(default)]
    pub layer: i64,
    /// When it was made, RFC 3339.
    #[serde(default, rename = "createdAt")]
    pub created: String,
}

/// A result: a list of layers, without their parents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainResult {
    /// The layers, bottom first, by their places in the list.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub layers: Vec<i64>,
    /// When it was made, RFC 3339.
    #[serde(default, rename = "createdAt")]
    pub created: String,
}

/// What one of our keys is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The version of what follows.
    pub version: u32,
    /// What kind of key it is.
    pub kind: Kind,
    /// The key of the operation, or the digest of the content.
    pub key: String,
    /// Which output of the operation.
    #[serde(default)]
    pub output: u32,
    /// What the step is called.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// The kinds of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An output of an operation without inputs.
    Root,
    /// A content.
    Content,
    /// An output of an operation on inputs.
    Derived,
}

impl Mark {
    /// Returns what other programs know the record by.
    pub fn digest(&self) -> Digest {
        let kind = match self.kind {
            Kind::Root => "root",
            Kind::Content => "content",
            Kind::Derived => "derived",
        };
        let text = format!("rbuild.cache.v{}\0{kind}\0{}\0{}", self.version, self.key, self.output);
        Digest::of(text.as_bytes())
    }
}

/// Go writes an empty list as `null`.
fn null_as_empty<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}
