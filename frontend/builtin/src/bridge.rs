//! The host as the lowering of a Dockerfile knows it: the same question is asked once.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures::lock::Mutex;
use rbuild_graph::pb;
use rbuild_lower::{Bridge, BridgeError, ResolveMode, ResolvedImage, ResolvedLayout};
use rbuild_oci::{Digest, Platform, Reference};
use rbuild_tree::pattern::Matcher;

use crate::host::{Host, HostError};
use crate::ignore;

/// The host of all lowerings of a request.
pub(crate) struct Asking<'a> {
    pub(crate) host: &'a dyn Host,
    /// The session of the request, and those of directories that have another one.
    pub(crate) session: Option<&'a str>,
    pub(crate) local_sessions: &'a BTreeMap<String, String>,
    /// The ignore file of the build context.
    pub(crate) ignore: Matcher,
    images: Answers<String, ResolvedImage>,
    ignored: Answers<(String, String), Vec<String>>,
}

/// Answers by question.
type Answers<K, T> = Mutex<HashMap<K, Place<T>>>;

/// The place of the one answer to a question.
type Place<T> = Arc<Mutex<Option<Result<T, HostError>>>>;

impl<'a> Asking<'a> {
    pub(crate) fn new(
        host: &'a dyn Host,
        session: Option<&'a str>,
        local_sessions: &'a BTreeMap<String, String>,
        ignore: Matcher,
    ) -> Self {
        Self { host, session, local_sessions, ignore, images: Mutex::default(), ignored: Mutex::default() }
    }

    /// Returns the session that has the directory called `name`.
    pub(crate) fn session_of(&self, name: &str) -> Option<&str> {
        self.local_sessions.get(name).map(String::as_str).or(self.session)
    }
}

/// Returns the answer that is there, or the one that `ask` gets.
async fn once<T: Clone>(place: Place<T>, ask: impl Future<Output = Result<T, HostError>>) -> Result<T, BridgeError> {
    let mut answer = place.lock().await;
    let answer = match &*answer {
        Some(known) => known.clone(),
        None => answer.insert(ask.await).clone(),
    };
    answer.map_err(failed)
}

fn failed(error: HostError) -> BridgeError {
    BridgeError::Failed(Box::new(error))
}

#[async_trait]
impl Bridge for Asking<'_> {
    async fn resolve_image(
        &self,
        reference: &Reference,
        platform: &Platform,
        mode: ResolveMode,
        shown: &str,
    ) -> Result<ResolvedImage, BridgeError> {
        // Contexts and bases of the same name are shown apart.
        let key = format!("{reference} {platform:?} {mode:?} {shown}");
        let place = self.images.lock().await.entry(key).or_default().clone();
        once(place, self.host.resolve_image(reference, platform, mode, shown)).await
    }

    async fn resolve_layout(
        &self,
        layout: &str,
        digest: Digest,
        platform: &Platform,
        shown: &str,
    ) -> Result<ResolvedLayout, BridgeError> {
        self.host.resolve_layout(layout, digest, platform, shown).await.map_err(failed)
    }

    async fn ignore_patterns(&self, local: &str, context: &str) -> Result<Vec<String>, BridgeError> {
        let key = (local.to_owned(), context.to_owned());
        let place = self.ignored.lock().await.entry(key).or_default().clone();
        let session = self.session_of(local);
        let ask = async {
            let patterns = ignore::of_named(local, context, session, self.host).await;
            patterns.map_err(|error| -> HostError { Arc::new(error) })
        };
        once(place, ask).await
    }

    fn is_ignored(&self, path: &str) -> bool {
        self.ignore.matches(Path::new(path))
    }

    async fn source_time(&self, source: &pb::SourceOp, shown: &str) -> Result<Option<i64>, BridgeError> {
        self.host.source_time(source, shown).await.map_err(failed)
    }
}
