//! The sessions of all clients, and those that a build may ask.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::error::SessionError;
use crate::session::Session;

/// How long a build waits for one of its sessions: the client opens it while it asks for the build.
pub const LOOKUP: Duration = Duration::from_secs(5);

/// The sessions that are open. Clones are the same table.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    open: Arc<Mutex<HashMap<String, Arc<Session>>>>,
    changes: watch::Sender<u64>,
}

/// A session in the table; it is taken out when this is dropped.
#[derive(Debug)]
pub struct Attached {
    sessions: Sessions,
    session: Arc<Session>,
}

impl Attached {
    /// Returns the session.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Waits until the session ends.
    pub async fn ended(self) {
        self.session.closed().await;
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut open = self.sessions.open();
        if open.get(self.session.id()).is_some_and(|found| Arc::ptr_eq(found, &self.session)) {
            open.remove(self.session.id());
        }
        drop(open);
        self.session.close("the client went away");
    }
}

impl Sessions {
    /// Returns a table without sessions.
    pub fn new() -> Self {
        Self::default()
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a session; one of the same id is found no more, but goes on for those who use it.
    #[must_use]
    pub fn attach(&self, session: Arc<Session>) -> Attached {
        self.open().insert(session.id().to_owned(), session.clone());
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
        Attached { sessions: self.clone(), session }
    }

    /// Whether a session of this id is open.
    pub fn contains(&self, id: &str) -> bool {
        self.open().get(plain(id)).is_some_and(|session| !session.is_closed())
    }

    /// Returns the session of an id, which may have a prefix (`prefix:id`), waiting for it at most for `timeout`.
    ///
    /// # Errors
    /// If it does not come.
    pub async fn get(&self, id: &str, timeout: Duration) -> Result<Arc<Session>, SessionError> {
        let plain = plain(id);
        let mut changes = self.changes.subscribe();
        let find = async {
            loop {
                changes.mark_unchanged();
                let found = self.open().get(plain).filter(|session| !session.is_closed()).cloned();
                if let Some(session) = found {
                    return Some(session);
                }
                changes.changed().await.ok()?;
            }
        };
        let found = tokio::time::timeout(timeout, find).await.ok().flatten();
        found.ok_or_else(|| SessionError::NotFound { id: plain.to_owned(), timeout })
    }

    /// Returns the sessions of a build.
    pub fn group(&self, ids: impl IntoIterator<Item = String>) -> Group {
        let group = Group { sessions: self.clone(), ids: Arc::default() };
        ids.into_iter().for_each(|id| group.add(&id));
        group
    }
}

/// A prefix sets apart vertices of equal definition; the session is the same.
fn plain(id: &str) -> &str {
    match id.split_once(':') {
        Some((_, rest)) if !rest.is_empty() => rest,
        _ => id,
    }
}

/// The sessions that a build may ask, the first that can answer does. Clones are the same group.
#[derive(Debug, Clone)]
pub struct Group {
    sessions: Sessions,
    ids: Arc<Mutex<Vec<String>>>,
}

impl Group {
    /// Adds a session, as when another client joins the build.
    pub fn add(&self, id: &str) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if !id.is_empty() && !ids.iter().any(|known| known == id) {
            ids.push(id.to_owned());
        }
    }

    /// Returns the ids.
    pub fn ids(&self) -> Vec<String> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the table that the sessions are in.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Asks one session after the other until one answers.
    ///
    /// # Errors
    /// That of the last session, if none answers.
    pub async fn any<T, F>(&self, ask: impl Fn(Arc<Session>) -> F) -> Result<T, SessionError>
    where
        F: Future<Output = Result<T, SessionError>>,
    {
        self.first_of(None, ask).await
    }

    /// Asks the preferred session first, then the others.
    ///
    /// # Errors
    /// That of the last session, if none answers.
    pub async fn first_of<T, F>(
        &self,
        preferred: Option<&str>,
        ask: impl Fn(Arc<Session>) -> F,
    ) -> Result<T, SessionError>
    where
        F: Future<Output = Result<T, SessionError>>,
    {
        let preferred = preferred.map(plain);
        let others = self.ids().into_iter().filter(|id| Some(plain(id)) != preferred);
        let mut last = SessionError::None;
        for id in preferred.map(str::to_owned).into_iter().chain(others) {
            let asked = async {
                let session = self.sessions.get(&id, LOOKUP).await?;
                session.wait(ask(session.clone())).await
            };
            match asked.await {
                Ok(answer) => return Ok(answer),
                // What a client refused says more than that another one is not there.
                Err(SessionError::NotFound { .. }) if !matches!(last, SessionError::None) => {}
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
