//! One build of a client: its session, its job, its progress, the results it holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use rbuild_buildkit_api::control;
use rbuild_export::provenance::LateProvenance;
use rbuild_graph::policy::Policy;
use rbuild_graph::{Entitlements, Graph, pb, source};
use rbuild_oci::Digest;
use rbuild_ops::{Ref, Worker};
use rbuild_solver::Solved;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::attest::{Origin, Scope};
use crate::bridge::container::Containers;
use crate::caches::{Asked, Caches};
use crate::config::Entitlement;
use crate::fault::Fault;
use crate::feed::Feed;
use crate::judge::Judge;
use crate::lazy::Lazy;
use crate::outcome::{MaybeLazy, Outcome};
use crate::tenancy::Stay;

/// The most results that a client may hold at once.
const MAX_RESULTS: usize = 100_000;

/// How many frontends that are images may run for each other.
const MAX_DEPTH: usize = 16;

/// What a client said when it began a build.
pub(crate) struct Begun {
    /// The name it gave it.
    pub(crate) id: String,
    /// The session that its side of the build is reached through.
    pub(crate) session: String,
    /// Whether the client's own frontend drives it.
    pub(crate) is_driven: bool,
    /// Definitions that its frontend may use.
    pub(crate) inputs: BTreeMap<String, pb::Definition>,
    /// Rules about sources.
    pub(crate) policies: Vec<Policy>,
    /// What steps may have beyond the sandbox.
    pub(crate) granted: BTreeSet<Entitlement>,
}

impl Begun {
    /// Returns what steps may have of what a graph can ask for.
    pub(crate) fn entitlements(&self) -> Entitlements {
        Entitlements {
            network_host: self.granted.contains(&Entitlement::NetworkHost),
            security_insecure: self.granted.contains(&Entitlement::SecurityInsecure),
        }
    }
}

/// What holds for a definition besides what holds for all of its build.
#[derive(Debug, Clone, Default)]
pub(crate) struct Terms {
    /// Rules about sources.
    pub(crate) policies: Vec<Policy>,
    /// Caches that may have the result.
    pub(crate) imports: Vec<Asked>,
}

/// One build of a client.
pub(crate) struct Build {
    begun: Arc<Begun>,
    /// Definitions that its frontend may use.
    inputs: BTreeMap<String, pb::Definition>,
    /// How many frontends have asked for frontends.
    depth: usize,
    worker: Arc<Worker>,
    caches: Arc<Caches>,
    feed: Arc<Feed>,
    judge: Option<Arc<Judge>>,
    scope: Arc<Scope>,
    origin: Origin,
    results: Mutex<Results>,
    made: Mutex<Made>,
    containers: Containers,
    returned: watch::Sender<Option<Result<Outcome, Fault>>>,
    canceled: CancellationToken,
    /// Lets go of what the build holds of the store; the last to be dropped.
    _stay: Option<Stay>,
}

/// What a build made, for its history: also of one that fails later.
#[derive(Default)]
pub(crate) struct Made {
    /// How results came to be: the one result, and those by name.
    pub(crate) provenance: BTreeMap<Option<String>, LateProvenance>,
    /// What exporters made, by their positions.
    pub(crate) exported: BTreeMap<i64, control::Descriptor>,
}

/// Who asked for a build, and when.
pub(crate) struct Asker {
    pub(crate) scope: Arc<Scope>,
    pub(crate) origin: Origin,
}

/// What a frontend mounts.
pub(crate) enum Mounted {
    /// A result, which may have to be made.
    Result(Arc<Lazy>),
    /// What a failed operation left.
    Left(Ref),
}

#[derive(Default)]
struct Results {
    known: HashMap<String, Arc<Lazy>>,
    /// What failed operations left.
    remains: Vec<(String, Ref)>,
    count: u64,
}

impl Results {
    /// Returns a name for another result.
    fn next(&mut self, build: &str) -> Result<String, Fault> {
        if self.known.len() + self.remains.len() >= MAX_RESULTS {
            return Err(Fault::new(format!("a build may hold {MAX_RESULTS} results at once")));
        }
        self.count += 1;
        Ok(Digest::of(format!("{build}\0{}", self.count).as_bytes()).hex()[..25].to_owned())
    }
}

impl Build {
    pub(crate) fn new(
        mut begun: Begun,
        asker: Asker,
        worker: Arc<Worker>,
        caches: Caches,
        feed: Arc<Feed>,
        judge: Option<Judge>,
        stay: Stay,
    ) -> Arc<Self> {
        let Asker { scope, origin } = asker;
        Arc::new(Self {
            scope,
            origin,
            made: Mutex::default(),
            inputs: std::mem::take(&mut begun.inputs),
            depth: 0,
            begun: Arc::new(begun),
            worker,
            caches: Arc::new(caches),
            feed,
            judge: judge.map(Arc::new),
            results: Mutex::default(),
            containers: Containers::default(),
            returned: watch::Sender::new(None),
            canceled: CancellationToken::new(),
            _stay: Some(stay),
        })
    }

    /// Returns the build as a frontend sees it that has results, containers and an answer of its own. It ends before
    /// this build does.
    pub(crate) fn of_frontend(
        &self,
        inputs: BTreeMap<String, pb::Definition>,
        scope: &Arc<Scope>,
    ) -> Result<Arc<Self>, Fault> {
        if self.depth >= MAX_DEPTH {
            return Err(Fault::new(format!("more than {MAX_DEPTH} frontends ask each other")));
        }
        Ok(Arc::new(Self {
            inputs,
            depth: self.depth + 1,
            scope: scope.clone(),
            origin: self.origin.clone(),
            made: Mutex::default(),
            begun: self.begun.clone(),
            worker: self.worker.clone(),
            caches: self.caches.clone(),
            feed: self.feed.clone(),
            judge: self.judge.clone(),
            results: Mutex::default(),
            containers: Containers::default(),
            returned: watch::Sender::new(None),
            canceled: self.canceled.child_token(),
            _stay: None,
        }))
    }

    /// Returns what its frontend may use.
    pub(crate) fn inputs(&self) -> &BTreeMap<String, pb::Definition> {
        &self.inputs
    }

    /// Returns what its frontend returned so far.
    pub(crate) fn answer(&self) -> Option<Result<Outcome, Fault>> {
        self.returned.borrow().clone()
    }

    pub(crate) fn id(&self) -> &str {
        &self.begun.id
    }

    pub(crate) fn begun(&self) -> &Begun {
        &self.begun
    }

    pub(crate) fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    /// Returns who decides about sources, if the client wants to.
    pub(crate) fn judge(&self) -> Option<&Judge> {
        self.judge.as_deref()
    }

    pub(crate) fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// Returns the containers of its frontend.
    pub(crate) fn containers(&self) -> &Containers {
        &self.containers
    }

    pub(crate) fn caches(&self) -> &Caches {
        &self.caches
    }

    /// Returns the client's own scope.
    pub(crate) fn scope(&self) -> &Arc<Scope> {
        &self.scope
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns what the build has made.
    pub(crate) fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all that is done for the build.
    pub(crate) fn cancel(&self) {
        self.canceled.cancel();
    }

    /// Carries work out unless the build ends before.
    pub(crate) async fn unless_canceled<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        tokio::select! {
            done = work => done,
            () = self.canceled.cancelled() => Err(Fault::canceled()),
        }
    }

    /// Loads a definition of the client.
    pub(crate) fn load(&self, definition: &pb::Definition) -> Result<MaybeLazy, Fault> {
        self.load_with(definition, &Terms::default())
    }

    /// Loads a definition of the client on terms of its own.
    pub(crate) fn load_with(&self, definition: &pb::Definition, terms: &Terms) -> Result<MaybeLazy, Fault> {
        let policies: Vec<_> = self.begun.policies.iter().chain(&terms.policies).cloned().collect();
        let lazy = Lazy::load(definition, &policies, terms, &self.worker)?.map(Arc::new);
        if let Some(lazy) = &lazy {
            lazy.graph().check_entitlements(self.begun.entitlements())?;
        }
        Ok(lazy)
    }

    /// Makes a result.
    pub(crate) async fn solve<'a>(&self, lazy: &'a Lazy) -> Result<&'a Solved<Ref>, Fault> {
        let solved = self.unless_canceled(lazy.solve(self)).await;
        // Only a frontend can mount what is left.
        solved.map_err(|fault| match self.begun.is_driven || self.depth > 0 {
            true => fault.with_remains(|value| self.hold_remains(value)),
            false => fault,
        })
    }

    /// Makes results, all at once; the first failure ends the rest.
    pub(crate) async fn make(self: &Arc<Self>, results: Vec<Arc<Lazy>>) -> Result<(), Fault> {
        let mut made = Vec::with_capacity(results.len());
        for lazy in results {
            let build = Arc::clone(self);
            made.push(async move { build.solve(&lazy).await.map(|_| ()) }.boxed());
        }
        futures::future::try_join_all(made).await.map(|_| ())
    }

    fn results(&self) -> MutexGuard<'_, Results> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a result a name that the client may use until the build ends.
    pub(crate) fn hold(&self, lazy: &Arc<Lazy>) -> Result<String, Fault> {
        let mut results = self.results();
        let id = results.next(&self.begun.id)?;
        results.known.insert(id.clone(), lazy.clone());
        Ok(id)
    }

    /// Returns whether a result that the client holds stands on a vertex that is the same for whoever wants it.
    pub(crate) fn shares(&self, vertex: &Digest) -> bool {
        self.results().known.values().any(|lazy| is_common(lazy.graph(), vertex))
    }

    /// Gives what a failed operation left a name that a frontend may use in mounts.
    fn hold_remains(&self, value: &Ref) -> Result<String, Fault> {
        let mut results = self.results();
        let same = |known: &&(String, Ref)| match (&known.1, value) {
            (Ref::Layers(known), Ref::Layers(layers)) => known == layers,
            (Ref::Local(known), Ref::Local(local)) => Arc::ptr_eq(known, local),
            _ => false,
        };
        if let Some((id, _)) = results.remains.iter().find(same) {
            return Ok(id.clone());
        }
        let id = results.next(&self.begun.id)?;
        results.remains.push((id.clone(), value.clone()));
        Ok(id)
    }

    /// Returns what a mount with this name shows; an empty name is the empty file system.
    pub(crate) fn mounted(&self, id: &str) -> Result<Option<Mounted>, Fault> {
        if let Some((_, left)) = self.results().remains.iter().find(|(known, _)| known == id) {
            return Ok(Some(Mounted::Left(left.clone())));
        }
        Ok(self.result(id)?.map(Mounted::Result))
    }

    /// Returns a result by its name; an empty name is the empty file system.
    pub(crate) fn result(&self, id: &str) -> Result<MaybeLazy, Fault> {
        if id.is_empty() {
            return Ok(None);
        }
        let found = self.results().known.get(id).cloned();
        let unknown = || Fault::new(format!("no such ref: {}", id.chars().take(100).collect::<String>()));
        found.ok_or_else(unknown).map(Some)
    }

    /// Takes what the client's frontend returns; only the first time counts.
    pub(crate) fn take(&self, outcome: Result<Outcome, Fault>) {
        self.returned.send_if_modified(|known| {
            let is_first = known.is_none();
            if is_first {
                *known = Some(outcome);
            }
            is_first
        });
    }

    /// Returns what the client's frontend returned, once it has.
    pub(crate) async fn returned(&self) -> Result<Outcome, Fault> {
        let mut returned = self.returned.subscribe();
        let waiting = async {
            let known = returned.wait_for(Option::is_some).await.map_err(|_| Fault::canceled())?;
            known.clone().unwrap_or_else(|| Err(Fault::canceled()))
        };
        self.unless_canceled(waiting).await
    }
}

/// Whether a vertex stands on images and repositories only, by names that mean the same to every client.
fn is_common(graph: &Graph, vertex: &Digest) -> bool {
    let mut left = vec![*vertex];
    let mut seen = BTreeSet::new();
    while let Some(next) = left.pop() {
        if !seen.insert(next) {
            continue;
        }
        let Some(vertex) = graph.vertex(&next) else { return false };
        let is_fine = match vertex.kind() {
            pb::Kind::Source(op) => {
                [source::DOCKER_IMAGE, source::GIT].iter().any(|kind| op.identifier.starts_with(kind))
            }
            pb::Kind::Build(_) => false,
            _ => true,
        };
        if !is_fine {
            return false;
        }
        left.extend(vertex.inputs.iter().map(|edge| edge.vertex));
    }
    true
}
