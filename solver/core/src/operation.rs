//! What the solver knows of the work it orders: an opaque [`Operation`], the [`CacheMap`] it
//! describes itself with, and the [`ResultStore`] that can keep what it made.

use async_trait::async_trait;
use rbuild_oci::Digest;

use crate::context::Context;

/// Whatever went wrong inside an operation; the solver passes it on unread.
pub type OperationError = Box<dyn std::error::Error + Send + Sync>;

/// One vertex's work, from inputs to one value for each output.
///
/// All futures may be dropped at any await point, which means: no longer wanted. What must then be
/// undone (a process killed, a directory removed) belongs in `Drop` of what the future owns.
#[async_trait]
pub trait Operation<R>: Send + Sync {
    /// Describes what the operation's results depend on besides its inputs' identity.
    ///
    /// A source resolves itself here, over the network if need be (a tag to a digest).
    async fn cache_map(&self, context: &Context) -> Result<CacheMap, OperationError>;

    /// Returns the content key of the part of input `index` that the operation looks at; none if it
    /// turns out to have no such key.
    ///
    /// Called only for inputs whose [`InputMap::content`] is set.
    async fn content_key(&self, context: &Context, index: usize, value: &R) -> Result<Option<Digest>, OperationError>;

    /// Does the work; returns one value for each output.
    async fn run(&self, context: &Context, inputs: Vec<R>) -> Result<Vec<R>, OperationError>;

    /// Whether running it means waiting for other work of the same solver. Then it counts for no limit, which the
    /// other work may need.
    fn only_waits(&self) -> bool {
        false
    }
}

/// What identifies an operation, its inputs aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMap {
    /// The operation's own key: equal keys on equal inputs give interchangeable results.
    pub key: Digest,
    /// How long the key means the same.
    pub lifetime: Lifetime,
    /// One for each input of the vertex, in order.
    pub inputs: Vec<InputMap>,
    /// What a source resolved itself to, such as the digest of an image; see [`Job::pins`](crate::Job::pins).
    pub pin: Option<String>,
}

impl CacheMap {
    /// Returns the map of an operation without inputs.
    pub fn source(key: Digest) -> Self {
        Self { key, lifetime: Lifetime::Stored, inputs: Vec::new(), pin: None }
    }

    /// Returns the map of an operation on `inputs`.
    pub fn new(key: Digest, inputs: Vec<InputMap>) -> Self {
        Self { key, lifetime: Lifetime::Stored, inputs, pin: None }
    }

    /// Returns the same map of a source that resolved itself to `pin`.
    pub fn pinned(self, pin: impl Into<String>) -> Self {
        Self { pin: Some(pin.into()), ..self }
    }

    /// Returns the same map with a key that means nothing to later builds.
    pub fn for_session(self) -> Self {
        Self { lifetime: Lifetime::Session, ..self }
    }
}

/// How long a key means the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lifetime {
    /// Forever: results may be found by it in later builds.
    Stored,
    /// Only while this solver runs, as that of a build context which may have changed by the next
    /// build. Nothing is stored under it; later builds find results through content keys alone.
    Session,
}

/// How an operation looks at one of its inputs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputMap {
    /// The part of the input that is looked at, if not all of it: links from the input's keys hold
    /// for this part only.
    pub selector: Option<Digest>,
    /// Whether [`Operation::content_key`] can be asked for this input.
    pub content: bool,
}

/// Keeps values between processes as opaque bytes.
#[async_trait]
pub trait ResultStore<R>: Send + Sync {
    /// Makes `value` findable again by the bytes returned.
    async fn save(&self, value: &R) -> Result<Saved, OperationError>;

    /// Returns the value `result` stands for; none if parts of it are gone, which is a cache miss.
    async fn load(&self, result: &[u8]) -> Result<Option<R>, OperationError>;
}

/// What a [`ResultStore`] wants to be remembered of a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// Enough to load the value.
    pub result: Vec<u8>,
    /// Its size in bytes, if known yet.
    pub size: Option<u64>,
}
