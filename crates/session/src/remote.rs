//! The client's side of a build, as operations see it: whatever they ask is asked of the build's sessions.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use rbuild_events::{Event, Status};
use rbuild_oci::Digest;
use rbuild_ops::{Agent, Layout, LocalDirectory, LocalRequest};
use rbuild_solver::Context;
use rbuild_store::Store;

use crate::error::SessionError;
use crate::file_sync::may_be_elsewhere;
use crate::table::Group;

/// How often progress of a transfer is told.
const PROGRESS: Duration = Duration::from_millis(100);

/// Knows which other builds want a step that would be the same for them.
pub trait Partners: Send + Sync {
    /// Returns the sessions of the other builds under way that have this vertex, and could not be deceived about what
    /// the step stands on.
    fn sessions(&self, vertex: &Digest) -> Vec<String>;
}

/// How long another build's client may take to answer for a step.
const PARTNER_PATIENCE: Duration = Duration::from_secs(2);

/// The sessions of a build as its client's side.
#[derive(Clone)]
pub struct RemoteClient {
    group: Group,
    store: Store,
    search_path: Option<std::ffi::OsString>,
    partners: Option<Arc<dyn Partners>>,
}

impl RemoteClient {
    /// Returns the client's side that the sessions of a build are; copies of directories are kept in `store`.
    pub fn new(group: Group, store: Store) -> Self {
        Self { group, store, search_path: None, partners: None }
    }

    /// Lets steps that other builds want, too, be given what those builds' clients have for them.
    #[must_use]
    pub fn with_partners(self, partners: Arc<dyn Partners>) -> Self {
        Self { partners: Some(partners), ..self }
    }

    /// Asks the clients of other builds that want a step, as far as they are there. That one of them fails is not this
    /// build's matter.
    async fn of_partners<T, F>(&self, vertex: &Digest, ask: impl Fn(Self) -> F) -> Option<T>
    where
        F: Future<Output = io::Result<Option<T>>>,
    {
        let own = self.group.ids();
        for id in self.partners.as_ref()?.sessions(vertex) {
            if own.contains(&id) || !self.group.sessions().contains(&id) {
                continue;
            }
            let group = self.group.sessions().group([id]);
            let partner = Self { group, store: self.store.clone(), search_path: None, partners: None };
            if let Ok(Ok(Some(given))) = tokio::time::timeout(PARTNER_PATIENCE, ask(partner)).await {
                return Some(given);
            }
        }
        None
    }

    /// Sets where programs such as git are looked for, which is the daemon's own matter.
    #[must_use]
    pub fn with_search_path(self, search_path: Option<std::ffi::OsString>) -> Self {
        Self { search_path, ..self }
    }

    /// Returns the sessions.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// The session that a source names, else any of the build.
    async fn copy(&self, request: &LocalRequest, context: &Context) -> Result<LocalDirectory, SessionError> {
        let copied = self.group.first_of(request.session.as_deref(), |session| async move {
            let mut progress = Progress::new(context, format!("transferring {}:", request.name));
            let directory = session.local(request, &self.store, |bytes| progress.update(bytes)).await;
            progress.finish();
            // What failed here would fail there, too; asking others would hide why.
            match directory {
                Err(error) if !may_be_elsewhere(&error) => Ok(Err(error)),
                directory => directory.map(Ok),
            }
        });
        copied.await?
    }
}

#[async_trait]
impl rbuild_ops::Session for RemoteClient {
    fn scope(&self, request: &LocalRequest) -> Option<Digest> {
        let own = request.session.clone().or_else(|| self.group.ids().into_iter().next()).unwrap_or_default();
        Some(Digest::of(format!("rbuild.session.v1\0{own}").as_bytes()))
    }

    async fn local(&self, request: &LocalRequest, context: &Context) -> io::Result<Option<LocalDirectory>> {
        match self.copy(request, context).await {
            Ok(directory) => Ok(Some(directory)),
            Err(error) => Err(error.into_io()),
        }
    }

    async fn secret(&self, id: &str) -> io::Result<Option<Vec<u8>>> {
        let asked = self.group.any(|session| async move {
            match session.secret(id).await? {
                Some(secret) => Ok(Some(secret)),
                None => Err(SessionError::Unsupported(crate::secret::METHOD)),
            }
        });
        missing_is_none(asked.await)
    }

    async fn ssh_agent(&self, id: &str) -> io::Result<Option<Arc<dyn Agent>>> {
        let asked = self.group.any(|session| async move {
            match session.ssh_agent(id).await? {
                Some(agent) => Ok(Some(Arc::new(agent) as Arc<dyn Agent>)),
                None => Err(SessionError::Unsupported(crate::ssh::CHECK)),
            }
        });
        missing_is_none(asked.await)
    }

    async fn secret_of_step(&self, vertex: &Digest, id: &str) -> io::Result<Option<Vec<u8>>> {
        match self.secret(id).await? {
            Some(secret) => Ok(Some(secret)),
            None => Ok(self.of_partners(vertex, |partner| async move { partner.secret(id).await }).await),
        }
    }

    async fn agent_of_step(&self, vertex: &Digest, id: &str) -> io::Result<Option<Arc<dyn Agent>>> {
        match self.ssh_agent(id).await? {
            Some(agent) => Ok(Some(agent)),
            None => Ok(self.of_partners(vertex, |partner| async move { partner.ssh_agent(id).await }).await),
        }
    }

    async fn layout(&self, id: &str, session: Option<&str>) -> io::Result<Option<Layout>> {
        let found = self.group.first_of(session, |session| async move {
            session.require(crate::content::INFO)?;
            Ok(Some(Layout::Blobs(Arc::new(session.content(&format!("oci:{id}"))?))))
        });
        missing_is_none(found.await)
    }

    async fn upload(&self, host: &str, path: &str) -> io::Result<Option<Box<dyn Read + Send>>> {
        let asked = self.group.any(|session| async move {
            match session.upload(host, path).await? {
                Some(content) => Ok(Some(content)),
                None => Err(SessionError::Unsupported(crate::upload::METHOD)),
            }
        });
        missing_is_none(asked.await)
    }

    fn search_path(&self) -> Option<std::ffi::OsString> {
        self.search_path.clone()
    }
}

/// What no session has is nothing; a build without sessions has nothing.
fn missing_is_none<T>(asked: Result<Option<T>, SessionError>) -> io::Result<Option<T>> {
    match asked {
        Err(error) if error.is_missing() || matches!(error, SessionError::None) => Ok(None),
        asked => asked.map_err(SessionError::into_io),
    }
}

/// Tells of a transfer, not too often.
struct Progress<'a> {
    context: &'a Context,
    status: Status,
    told: SystemTime,
}

impl<'a> Progress<'a> {
    fn new(context: &'a Context, id: String) -> Self {
        let started = context.now();
        let status = Status { vertex: context.vertex(), id, current: 0, total: 0, started, completed: None };
        context.reporter().report(Event::Status(status.clone()));
        Self { context, status, told: started }
    }

    fn update(&mut self, bytes: u64) {
        self.status.current = bytes;
        // The clock is asked for each packet; that costs less than what came with it.
        let now = self.context.now();
        if now.duration_since(self.told).is_ok_and(|since| since >= PROGRESS) {
            self.told = now;
            self.context.reporter().report(Event::Status(self.status.clone()));
        }
    }

    fn finish(&mut self) {
        self.status.completed = Some(self.context.now());
        self.context.reporter().report(Event::Status(self.status.clone()));
    }
}
