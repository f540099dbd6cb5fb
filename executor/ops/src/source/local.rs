//! A directory of the client as a source: known by the contents that steps look at.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use rbuild_graph::source::attr;
use rbuild_graph::{pb, source};
use rbuild_oci::Digest;
use rbuild_solver::{CacheMap, Context, Operation, OperationError};
use rbuild_tree::TreeError;
use rbuild_tree::pattern::Matcher;

use super::attributes::Attributes;
use crate::OpsError;
use crate::session::{Differ, LocalForm, LocalRequest};
use crate::value::{Local, Ref};
use crate::worker::Worker;

/// A directory of the client ready to be read.
pub(crate) struct LocalSource {
    worker: Arc<Worker>,
    request: LocalRequest,
}

impl LocalSource {
    /// Reads the source op.
    pub(crate) fn new(worker: Arc<Worker>, op: &pb::SourceOp) -> Result<Self, OpsError> {
        Ok(Self { worker, request: LocalRequest::read(op)? })
    }

    /// Returns what sets this directory apart from those of other clients.
    pub(crate) fn scope(&self) -> Option<Digest> {
        self.worker.session().scope(&self.request)
    }
}

impl LocalRequest {
    /// Reads the source op.
    fn read(op: &pb::SourceOp) -> Result<Self, OpsError> {
        let mut attributes = Attributes::new(op);
        let mut name = op.identifier.strip_prefix(source::LOCAL).unwrap_or(&op.identifier).to_owned();
        let mut session = attributes.take(attr::LOCAL_SESSION_ID);
        // A prefix tells apart directories of equal name in one session.
        if let Some((prefix, id)) = session.as_deref().and_then(|session| session.split_once(':')) {
            name = format!("{prefix}-{name}");
            session = Some(id.to_owned());
        }
        // Whatever it says, two builds are two sources.
        attributes.take(attr::LOCAL_UNIQUE_ID);
        let differ = match attributes.take(attr::LOCAL_DIFFER).as_deref() {
            None | Some("metadata") => Differ::Metadata,
            Some("none") => Differ::Never,
            Some(other) => return Err(attributes.invalid(format!("unknown differ `{}`", other.escape_debug()))),
        };
        let exceptions = attributes.list(attr::LOCAL_METADATA_EXCLUDE)?;
        let metadata_only = attributes.truth(attr::LOCAL_METADATA_TRANSFER)?.then_some(exceptions);
        let request = Self {
            name,
            session,
            include: attributes.list(attr::INCLUDE_PATTERNS)?,
            exclude: attributes.list(attr::EXCLUDE_PATTERNS)?,
            follow: attributes.list(attr::FOLLOW_PATHS)?,
            shared_key_hint: attributes.take(attr::SHARED_KEY_HINT).unwrap_or_default(),
            differ,
            metadata_only,
        };
        attributes.end("local.")?;
        Ok(request)
    }
}

/// Counts the directories read by this process: what one build read means nothing to the next.
static READS: AtomicU64 = AtomicU64::new(0);

#[async_trait]
impl Operation<Ref> for LocalSource {
    async fn cache_map(&self, context: &Context) -> Result<CacheMap, OperationError> {
        let read = READS.fetch_add(1, Ordering::Relaxed);
        let key = format!("rbuild.local.v1\0{}\0{read}\0{}", std::process::id(), context.vertex());
        Ok(CacheMap::source(Digest::of(key.as_bytes())).for_session())
    }

    async fn content_key(&self, _: &Context, _: usize, _: &Ref) -> Result<Option<Digest>, OperationError> {
        Ok(None)
    }

    async fn run(&self, context: &Context, _: Vec<Ref>) -> Result<Vec<Ref>, OperationError> {
        let name = &self.request.name;
        let directory = self.worker.session().local(&self.request, context).await;
        let directory = directory.map_err(|source| OpsError::Local { name: name.clone(), source })?;
        let directory = directory.ok_or_else(|| OpsError::NoLocal(name.clone()))?;
        let ignore = match directory.form {
            LocalForm::Copy => Matcher::default(),
            LocalForm::InPlace => self.ignored()?,
        };
        let local =
            Local { directory, ignore, listing: OnceLock::new(), layer: OnceLock::new(), scanning: Mutex::new(()) };
        Ok(vec![Ref::Local(Arc::new(local))])
    }
}

impl LocalSource {
    /// Returns what of a directory that is read in place is not part of the source.
    fn ignored(&self) -> Result<Matcher, OpsError> {
        if self.request.metadata_only.is_some() {
            return Err(OpsError::Unsupported("the metadata of a directory that is read in place (metadatatransfer)"));
        }
        let ignored = Matcher::selecting(&self.request.include, &self.request.exclude);
        ignored.map_err(|error| OpsError::Tree(TreeError::from(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::op;

    fn check(attributes: &[(&str, &str)]) -> Result<LocalRequest, String> {
        LocalRequest::read(&op("local://context", attributes)).map_err(|error| error.to_string())
    }

    #[test]
    fn attributes_say_what_is_wanted() {
        let plain = LocalRequest { name: "context".to_owned(), ..LocalRequest::default() };
        let of = |session: &str| Some(session.to_owned());
        assert_eq!(check(&[]), Ok(plain.clone()));
        assert_eq!(check(&[("local.session", "abc")]), Ok(LocalRequest { session: of("abc"), ..plain.clone() }));
        let prefixed = LocalRequest { name: "p-context".to_owned(), session: of("abc"), ..plain.clone() };
        assert_eq!(check(&[("local.session", "p:abc")]), Ok(prefixed));
        let list = |text: &str| vec![text.to_owned()];
        let all = LocalRequest {
            include: list("i"),
            exclude: list("e"),
            follow: list("f"),
            shared_key_hint: "hint".to_owned(),
            differ: Differ::Never,
            metadata_only: Some(list("m")),
            ..plain.clone()
        };
        let attributes = [
            ("local.includepattern", r#"["i"]"#),
            ("local.excludepatterns", r#"["e"]"#),
            ("local.followpaths", r#"["f"]"#),
            ("local.sharedkeyhint", "hint"),
            ("local.differ", "none"),
            ("local.metadatatransfer", "true"),
            ("local.metadatatransferexclude", r#"["m"]"#),
            ("local.unique", "x"),
        ];
        assert_eq!(check(&attributes), Ok(all));
        assert_eq!(check(&[("local.followpaths", "null"), ("local.differ", "metadata")]), Ok(plain));
        let refused = [
            ("local.followpaths", "{}", "is not a list of texts"),
            ("local.differ", "content", "unknown differ `content`"),
            ("local.metadatatransfer", "maybe", "neither true nor false"),
            ("local.surprise", "1", "is not supported"),
        ];
        for (key, value, reason) in refused {
            let error = check(&[(key, value)]).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
