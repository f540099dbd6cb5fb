//! The builds under way, by the name their clients gave them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rbuild_oci::Digest;
use rbuild_session::Partners;
use tokio::sync::watch;

use crate::build::Build;
use crate::fault::Fault;
use crate::feed::Feed;

/// How long a call waits for the build it speaks of: all calls of a build race each other.
pub(crate) const PATIENCE: Duration = Duration::from_secs(6);
/// The longest name of a build.
const MAX_NAME: usize = 1024;

/// How long a build that has ended is remembered for calls that come too late, and how many are.
const REMEMBERED: (Duration, usize) = (Duration::from_secs(10), 64);

/// The builds under way.
pub(crate) struct Builds {
    known: Mutex<HashMap<String, Arc<Build>>>,
    ended: Mutex<VecDeque<Ended>>,
    changed: watch::Sender<()>,
}

/// A build that has ended: some do so before their client asks how they are doing.
struct Ended {
    at: Instant,
    id: String,
    feed: Arc<Feed>,
}

impl Default for Builds {
    fn default() -> Self {
        Self { known: Mutex::default(), ended: Mutex::default(), changed: watch::Sender::new(()) }
    }
}

impl Builds {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<Build>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> MutexGuard<'_, VecDeque<Ended>> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.retain(|ended| ended.at.elapsed() < REMEMBERED.0);
        ended
    }

    /// Remembers a build that is over for a while.
    fn remember(self: &Arc<Self>, id: String, feed: Arc<Feed>) {
        let mut ended = self.ended();
        if ended.len() == REMEMBERED.1 {
            ended.pop_front();
        }
        ended.push_back(Ended { at: Instant::now(), id, feed });
        drop(ended);
        self.changed.send_replace(());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let builds = self.clone();
            runtime.spawn(async move {
                tokio::time::sleep(REMEMBERED.0).await;
                drop(builds.ended());
            });
        }
    }

    /// Lets those who ask for the progress of a build know that it never began.
    pub(crate) fn refuse(self: &Arc<Self>, id: &str) {
        if !id.is_empty() && id.len() <= MAX_NAME {
            let feed = Feed::new();
            feed.end();
            self.remember(id.to_owned(), feed);
        }
    }

    /// Makes a build known, until what is returned is dropped.
    pub(crate) fn register(self: &Arc<Self>, build: &Arc<Build>) -> Result<Registered, Fault> {
        let id = build.id().to_owned();
        if id.is_empty() || id.len() > MAX_NAME {
            return Err(Fault::new("the name of a build must have 1 to 1024 characters"));
        }
        let mut known = self.known();
        if known.contains_key(&id) {
            return Err(Fault::new(format!("job ID {id} exists")));
        }
        known.insert(id.clone(), build.clone());
        drop(known);
        self.changed.send_replace(());
        Ok(Registered { builds: self.clone(), id })
    }

    /// Returns the progress of a build that is under way, about to begin, or just over.
    pub(crate) async fn progress(&self, id: &str) -> Option<Arc<Feed>> {
        let find = || {
            let under_way = self.known().get(id).map(|build| build.feed().clone());
            under_way.or_else(|| self.ended().iter().find(|ended| ended.id == id).map(|ended| ended.feed.clone()))
        };
        self.find(find).await
    }

    /// Returns a build, waiting for one that is about to begin.
    pub(crate) async fn wait(&self, id: &str, wanted: impl Fn(&Build) -> bool) -> Option<Arc<Build>> {
        self.find(|| self.known().get(id).cloned().filter(|build| wanted(build))).await
    }

    /// Looks for something until it is there, for a while.
    async fn find<T>(&self, look: impl Fn() -> Option<T>) -> Option<T> {
        let mut changes = self.changed.subscribe();
        let found = async {
            loop {
                changes.mark_unchanged();
                match look() {
                    Some(found) => return Some(found),
                    None => changes.changed().await.ok()?,
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.ok().flatten()
    }

    /// Ends all builds.
    pub(crate) fn cancel_all(&self) {
        self.known().values().for_each(|build| build.cancel());
    }
}

/// The builds that one of them may share steps with.
pub(crate) struct Others {
    builds: Arc<Builds>,
    /// The build that asks.
    own: String,
}

impl Others {
    pub(crate) fn new(builds: &Arc<Builds>, own: &str) -> Self {
        Self { builds: builds.clone(), own: own.to_owned() }
    }
}

impl Partners for Others {
    /// None for a build that takes results from where its client says: the step could stand on anything then.
    fn sessions(&self, vertex: &Digest) -> Vec<String> {
        let known = self.builds.known().clone();
        if known.get(&self.own).is_none_or(|own| own.caches().has_imports()) {
            return Vec::new();
        }
        let others = known.into_iter().filter(|(id, build)| *id != self.own && build.shares(vertex));
        others.map(|(_, build)| build.begun().session.clone()).filter(|session| !session.is_empty()).collect()
    }
}

/// A build that is known as long as this lives.
pub(crate) struct Registered {
    builds: Arc<Builds>,
    id: String,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let Some(build) = self.builds.known().remove(&self.id) else { return };
        build.cancel();
        self.builds.remember(self.id.clone(), build.feed().clone());
    }
}
