//! Names for results: the algebra of cache keys.
//!
//! ```text
//! key  =  root(operation, output)                      what a source without inputs makes
//!      |  content(digest)                              a part of some input, by what is in it
//!      |  derived(operation, output, a key per input)  what an operation makes of its inputs
//! ```
//!
//! One value usually has several keys: a file copied from the build context is known by whatever it
//! was copied with and by its content. All of them are *alternatives*; a link leads from each
//! alternative of each input to the key of the output. An output is found when some alternative of
//! every input links to it. A derived key is computed only to name an output for the first time; it is
//! then found by links, never by computing it again, so that outputs reached by different
//! ways keep one name.

use std::fmt;

use rbuild_oci::{Digest, Hasher};

use crate::operation::Lifetime;

/// A name for a result in the cache.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Digest);

impl Key {
    /// Returns the key of an output of an operation without inputs.
    pub fn root(operation: &Digest, output: u32) -> Self {
        let mut hasher = hasher(b"root");
        hasher.update(operation.as_bytes());
        hasher.update(&output.to_be_bytes());
        Self(hasher.finish())
    }

    /// Returns the key of whatever has this content.
    pub fn content(content: &Digest) -> Self {
        let mut hasher = hasher(b"content");
        hasher.update(content.as_bytes());
        Self(hasher.finish())
    }

    /// Returns the key with these raw bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Digest::from_bytes(bytes))
    }

    /// Returns the raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.hex())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0.short())
    }
}

/// A key somebody holds, and whether it may be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Known {
    /// How long the key means the same.
    pub lifetime: Lifetime,
    /// The key.
    pub key: Key,
}

impl Known {
    /// Returns a key that may be stored.
    pub fn stored(key: Key) -> Self {
        Self { lifetime: Lifetime::Stored, key }
    }

    /// Returns whether links from or to it may be stored.
    pub fn is_stored(&self) -> bool {
        self.lifetime == Lifetime::Stored
    }
}

/// An operation applied to certain inputs, before anything is said of outputs.
///
/// It is the same in every process that evaluates the same step on the same inputs: its digest
/// names the lock that lets only one of them run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Derivation {
    digest: Digest,
    lifetime: Lifetime,
}

impl Derivation {
    /// Returns the application of `operation` to inputs, each named by one of its alternatives.
    pub fn new(operation: &Digest, lifetime: Lifetime, inputs: &[(Option<Digest>, Known)]) -> Self {
        let mut hasher = hasher(b"derived");
        hasher.update(operation.as_bytes());
        for (selector, known) in inputs {
            hasher.update(&[u8::from(selector.is_some())]);
            hasher.update(selector.as_ref().map_or(&[][..], |selector| selector.as_bytes()));
            hasher.update(known.key.as_bytes());
        }
        let lifetime = inputs.iter().map(|(_, known)| known.lifetime).fold(lifetime, Lifetime::max);
        Self { digest: hasher.finish(), lifetime }
    }

    /// Returns the same application done anew: its outputs are not those of any earlier time.
    pub fn renewed(self, nonce: &[u8]) -> Self {
        let mut hasher = hasher(b"renewed");
        hasher.update(self.digest.as_bytes());
        hasher.update(nonce);
        Self { digest: hasher.finish(), ..self }
    }

    /// Returns the name of the application.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns how long the application means the same.
    pub fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// Returns the key of an output.
    pub fn output(&self, output: u32) -> Known {
        let mut hasher = hasher(b"output");
        hasher.update(self.digest.as_bytes());
        hasher.update(&output.to_be_bytes());
        Known { lifetime: self.lifetime, key: Key(hasher.finish()) }
    }
}

/// Every kind of key hashes its own kind first, so that none can be taken for another.
fn hasher(kind: &[u8]) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.update(b"rbuild.key.v1\0");
    hasher.update(kind);
    hasher.update(b"\0");
    hasher
}

/// Where a key comes from, kept so that a cache can be explained or exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// An output of an operation without inputs.
    Root {
        /// The operation's own key.
        operation: Digest,
        /// Which output.
        output: u32,
    },
    /// The content of some input.
    Content(Digest),
    /// An output of an operation on inputs.
    Derived {
        /// The operation's own key.
        operation: Digest,
        /// Which output.
        output: u32,
    },
}

/// How an input is looked at by which output of which operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Via {
    /// The operation's own key.
    pub operation: Digest,
    /// Which of its inputs.
    pub input: u32,
    /// The part of the input looked at; none for all of it and for content keys.
    pub selector: Option<Digest>,
    /// Which of its outputs.
    pub output: u32,
}

/// Says that an output was made of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// A key of the input.
    pub source: Key,
    /// How it was looked at.
    pub via: Via,
    /// The key of the output.
    pub target: Key,
}
