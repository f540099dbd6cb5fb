//! What all builds of the daemon share: store, registries, solver, sessions.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use rbuild_buildkit_api::control::SolveRequest;
use rbuild_graph::Graph;
use rbuild_graph::policy::Engine as PolicyEngine;
use rbuild_images::Images;
use rbuild_network::{Network, Provider};
use rbuild_ops::{Admit, Ref, Worker};
use rbuild_registry::Options;
use rbuild_session::{RemoteClient, SessionCredentials, Sessions};
use rbuild_snapshot::Roots;
use rbuild_solver::{Locks, Settings, Solver, SqliteCache};
use tokio_util::sync::CancellationToken;

use crate::attest::{Origin, Producers, Scope};
use crate::build::{Asker, Begun, Build};
use crate::builds::{Builds, Others};
use crate::caches::Caches;
use crate::config::{Entitlement, Frontends, HistoryLimits};
use crate::fault::Fault;
use crate::feed::Feed;
use crate::history::History;
use crate::judge::Judge;
use crate::log::Log;
use crate::run::{devices, granted};
use crate::solve::{Asked, policies};
use crate::tenancy::{SharedResults, Tenancy};
use crate::{DaemonError, workers};

/// What an engine is made of.
pub struct Parts {
    /// Store and registries; credentials come from the sessions of clients.
    pub images: Images,
    /// How writable roots are made.
    pub roots: Roots,
    /// Networks of steps.
    pub network: Provider,
    /// Where programs such as git are looked for, in the form of `PATH`; none for the usual places.
    pub search_path: Option<OsString>,
    /// What the daemon says of itself.
    pub worker: workers::Worker,
    /// What clients may be granted.
    pub entitlements: BTreeSet<Entitlement>,
    /// Directories with CDI descriptions of devices; none for the usual places.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// Whether images of clients that have names are found by them in the store.
    pub keeps_images: bool,
    /// The network of steps that ask for none in particular.
    pub default_network: Network,
    /// Frontends that clients may ask for.
    pub frontends: Frontends,
    /// How many operations may run at once; no limit if none.
    pub parallelism: Option<NonZeroUsize>,
    /// What is kept of finished builds.
    pub history: HistoryLimits,
    /// What the provenance of all builds tells of this builder besides.
    pub environment: serde_json::Map<String, serde_json::Value>,
    /// Ends the daemon.
    pub stop: CancellationToken,
}

/// Returns what decides whether graphs that a build's own steps define may be built.
fn admission(begun: &Begun) -> Arc<Admit> {
    let (policies, granted) = (begun.policies.clone(), begun.entitlements());
    Arc::new(move |graph: Graph| {
        let graph = PolicyEngine::new(&policies).and_then(|mut engine| engine.apply(&graph))?;
        graph.check_entitlements(granted)?;
        Ok(graph)
    })
}

/// What all builds of the daemon share.
pub struct Engine {
    parts: Parts,
    solver: Solver<Ref>,
    builds: Arc<Builds>,
    sessions: Sessions,
    history: History,
    tenancy: Arc<Tenancy>,
    producers: Arc<Producers>,
}

impl Engine {
    /// Joins the parts; opens the cache of the store.
    ///
    /// # Errors
    /// If the cache or the history cannot be opened.
    pub fn new(parts: Parts) -> Result<Self, DaemonError> {
        let store = parts.images.store();
        let cache = SqliteCache::open(&store.cache_path()).map_err(DaemonError::engine)?;
        let tenancy = Tenancy::new(store.clone());
        let results = Arc::new(SharedResults(tenancy.clone()));
        let locks = Locks::shared(store.steps_dir().map_err(DaemonError::engine)?);
        let history = History::open(store, parts.history.clone()).map_err(DaemonError::engine)?;
        let solver = Solver::new(
            Arc::new(cache),
            results,
            Settings { locks, parallelism: parts.parallelism, ..Settings::default() },
        );
        let (builds, producers) = (Arc::default(), Arc::default());
        Ok(Self { parts, solver, builds, sessions: Sessions::new(), history, tenancy, producers })
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Forgets old builds from time to time, and ends all builds when the daemon is told to stop.
    pub async fn keep_tidy(self: Arc<Self>, log: Log) {
        let swept = self.history.clone().keep_swept(self.parts.stop.clone(), log);
        let stopped = self.parts.stop.cancelled();
        tokio::join!(swept, stopped);
        self.builds.cancel_all();
    }

    /// Begins a build; nothing is done yet.
    pub(crate) fn begin(&self, request: &SolveRequest) -> Result<Arc<Build>, Fault> {
        let asked = Asked::of_client(request)?;
        let asker = Asker {
            scope: Scope::of_client(asked.request(), self.producers.clone()),
            origin: Origin::new(&request.r#ref, self.parts.environment.clone()),
        };
        let begun = Begun {
            policies: policies(request.source_policy.as_slice())?,
            id: request.r#ref.clone(),
            session: request.session.clone(),
            is_driven: asked.is_driven(),
            inputs: request.frontend_inputs.clone(),
            granted: granted(&request.entitlements, &self.parts.entitlements)?,
        };
        let parts = &self.parts;
        let group = self.sessions.group([begun.session.clone()]);
        let credentials = Arc::new(SessionCredentials::new(group.clone()));
        let stay = self.tenancy.enter();
        let options = Options { credentials, ..parts.images.options().clone() };
        let images = parts.images.with_options(stay.store(), options);
        let client = RemoteClient::new(group, images.store().clone()).with_search_path(parts.search_path.clone());
        let client = client.with_partners(Arc::new(Others::new(&self.builds, &begun.id)));
        let feed = Feed::new();
        let (roots, network) = (parts.roots.clone(), Arc::new(parts.network.clone()));
        let worker = Worker::new(images, roots, network, Arc::new(client), feed.clone());
        let worker = worker.with_default_network(parts.default_network);
        // Only a frontend of the client's can open what failed steps leave.
        let worker = if begun.is_driven { worker.with_remains() } else { worker };
        let worker = worker.with_devices(devices(&request.entitlements)?, parts.cdi_spec_dirs.clone());
        let worker = Arc::new(worker.with_nested_builds(self.solver.clone(), admission(&begun)));
        let judge = Judge::new(&self.sessions, &request.source_policy_session);
        let (sessions, session) = (self.sessions.clone(), begun.session.clone());
        let caches = Caches::new(worker.images().clone(), self.solver.clone(), feed.clone(), sessions, session);
        Ok(Build::new(begun, asker, worker, caches, feed, judge, stay))
    }

    pub(crate) fn builds(&self) -> &Arc<Builds> {
        &self.builds
    }
}
