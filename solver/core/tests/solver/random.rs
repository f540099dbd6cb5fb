//! Graphs at random, built again and again while their sources change, results are lost and steps are
//! renewed; every value must be that of a naive recursive evaluation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use proptest::prelude::*;
use rbuild_events::Silent;
use rbuild_oci::Digest;
use rbuild_solver::{CacheMap, Context, Edge, Graph, InputMap, Node, Operation, OperationError, Solver};

use crate::dsl::{Store, Value};

/// A value has so many parts, each a small number: equal content is common.
const PARTS: usize = 2;

#[derive(Debug, Clone)]
struct Spec {
    /// Names the operation: several vertices may do the same.
    class: u8,
    session: bool,
    inputs: Vec<InputSpec>,
}

#[derive(Debug, Clone)]
struct InputSpec {
    from: usize,
    output: u32,
    part: Option<usize>,
    content: bool,
}

#[derive(Debug, Clone)]
struct Round {
    versions: Vec<u8>,
    renewed: Vec<bool>,
    targets: Vec<usize>,
    lost: Option<u8>,
    new_process: bool,
}

fn spec(index: usize) -> impl Strategy<Value = Spec> {
    let input = (0..index.max(1), 0..2_u32, prop::option::of(0..PARTS), any::<bool>())
        .prop_map(|(from, output, part, content)| InputSpec { from, output, part, content });
    let inputs = prop::collection::vec(input, if index == 0 { 0..1 } else { 0..4 });
    (0..2_u8, prop::bool::weighted(0.3), inputs).prop_map(|(class, session, inputs)| Spec { class, session, inputs })
}

fn specs() -> impl Strategy<Value = Vec<Spec>> {
    (2..9_usize).prop_flat_map(|count| (0..count).map(spec).collect::<Vec<_>>())
}

fn rounds(count: usize) -> impl Strategy<Value = Vec<Round>> {
    let versions = prop::collection::vec(0..2_u8, count);
    let renewed = prop::collection::vec(prop::bool::weighted(0.05), count);
    let targets = prop::collection::vec(0..count, 1..3);
    let lost = prop::option::weighted(0.2, 0..4_u8);
    let round = (versions, renewed, targets, lost, any::<bool>()).prop_map(
        |(versions, renewed, targets, lost, new_process)| Round { versions, renewed, targets, lost, new_process },
    );
    prop::collection::vec(round, 1..7)
}

type Runs = Arc<Mutex<BTreeMap<String, u32>>>;

/// An operation's value depends on its key and on the parts it looks at, nothing else.
struct Step {
    spec: Spec,
    key: String,
    runs: Runs,
}

fn parts_seen(value: &str, part: Option<usize>) -> String {
    part.map_or_else(|| value.to_owned(), |part| value.split('.').nth(part).unwrap().to_owned())
}

fn compute(key: &str, output: u32, seen: &[String]) -> String {
    let part =
        |part: usize| (Digest::of(format!("{key} {output} {part} {seen:?}").as_bytes()).as_bytes()[0] % 4).to_string();
    (0..PARTS).map(part).collect::<Vec<_>>().join(".")
}

#[async_trait]
impl Operation<Value> for Step {
    async fn cache_map(&self, _: &Context) -> Result<CacheMap, OperationError> {
        let map = |input: &InputSpec| InputMap {
            selector: input.part.map(|part| Digest::of(&[part as u8])),
            content: input.content,
        };
        let map = CacheMap::new(Digest::of(self.key.as_bytes()), self.spec.inputs.iter().map(map).collect());
        Ok(if self.spec.session { map.for_session() } else { map })
    }

    async fn content_key(&self, _: &Context, index: usize, value: &Value) -> Result<Option<Digest>, OperationError> {
        tokio::task::yield_now().await;
        Ok(Some(Digest::of(parts_seen(value, self.spec.inputs[index].part).as_bytes())))
    }

    async fn run(&self, _: &Context, inputs: Vec<Value>) -> Result<Vec<Value>, OperationError> {
        tokio::task::yield_now().await;
        let seen: Vec<_> =
            self.spec.inputs.iter().zip(&inputs).map(|(input, value)| parts_seen(value, input.part)).collect();
        // Contents of what was looked at name the work if all inputs have a content key.
        if self.spec.inputs.iter().all(|input| input.content) && !self.spec.session {
            *self.runs.lock().unwrap().entry(format!("{} {seen:?}", self.key)).or_default() += 1;
        }
        Ok((0..2).map(|output| compute(&self.key, output, &seen).into()).collect())
    }
}

/// The key of a vertex's operation; for a source it tells the version, for a session also the round.
fn operation_key(spec: &Spec, version: u8, round: usize) -> String {
    match (spec.inputs.len(), spec.session) {
        (0, false) => format!("source {} {version}", spec.class),
        (0, true) => format!("session {} {version} {round}", spec.class),
        (count, session) => format!("step {} {count} {session} {}", spec.class, if session { round } else { 0 }),
    }
}

fn naive(specs: &[Spec], keys: &[String], index: usize, output: u32) -> String {
    let seen: Vec<_> = specs[index]
        .inputs
        .iter()
        .map(|input| parts_seen(&naive(specs, keys, input.from, input.output), input.part))
        .collect();
    compute(&keys[index], output, &seen)
}

fn graph(specs: &[Spec], keys: &[String], round: &Round, runs: &Runs) -> (Graph<Value>, Vec<Digest>) {
    let mut graph = Graph::new();
    let mut digests: Vec<Digest> = Vec::new();
    for (index, (spec, key)) in specs.iter().zip(keys).enumerate() {
        let inputs: Vec<_> =
            spec.inputs.iter().map(|input| Edge { vertex: digests[input.from], output: input.output }).collect();
        let looks: Vec<_> = spec.inputs.iter().map(|input| (input.part, input.content)).collect();
        let digest = Digest::of(format!("{key} {inputs:?} {looks:?}").as_bytes());
        digests.push(digest);
        graph.insert(Node {
            digest,
            name: index.to_string(),
            inputs,
            ignore_cache: round.renewed[index],
            scope: None,
            operation: Arc::new(Step { spec: spec.clone(), key: key.clone(), runs: Arc::clone(runs) }),
        });
    }
    (graph, digests)
}

async fn build(solver: &Solver<Value>, specs: &[Spec], keys: &[String], round: &Round, runs: &Runs) {
    let (graph, digests) = graph(specs, keys, round, runs);
    let edges: Vec<_> =
        round.targets.iter().flat_map(|index| [0, 1].map(|output| Edge { vertex: digests[*index], output })).collect();
    let solved = solver.job(Arc::new(Silent)).solve(&graph, &edges).await.unwrap();
    for (edge, solved) in edges.iter().zip(solved) {
        let index = digests.iter().position(|digest| *digest == edge.vertex).unwrap();
        assert_eq!(*solved.value, naive(specs, keys, index, edge.output), "vertex {index} output {}", edge.output);
    }
}

fn check(specs: &[Spec], rounds: &[Round]) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let store = Store::memory();
    let runs = Runs::default();
    let mut solver = store.solver();
    for (number, round) in rounds.iter().enumerate() {
        if round.new_process {
            solver = store.solver();
        }
        let keys: Vec<_> =
            specs.iter().zip(&round.versions).map(|(spec, version)| operation_key(spec, *version, number)).collect();
        runtime.block_on(build(&solver, specs, &keys, round, &runs));
        if let Some(lost) = round.lost {
            store.results.lose(&lost.to_string());
        }
    }
    if let Some(last) = rounds.last() {
        let (renewed, again) = (vec![true; specs.len()], vec![false; specs.len()]);
        let keys: Vec<_> = specs
            .iter()
            .zip(&last.versions)
            .map(|(spec, version)| operation_key(spec, *version, rounds.len()))
            .collect();
        let settle = |renewed| {
            let round = Round { renewed, lost: None, new_process: true, ..last.clone() };
            let runs = Runs::default();
            runtime.block_on(build(&store.solver(), specs, &keys, &round, &runs));
            runs.lock().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        settle(renewed);
        let ran = settle(again);
        assert!(ran.is_empty(), "run after all was renewed: {ran:?}");
    }
    let disturbed = rounds.iter().any(|round| round.lost.is_some() || round.renewed.contains(&true));
    if !disturbed {
        let repeated: BTreeSet<_> =
            runs.lock().unwrap().iter().filter(|(_, count)| **count > 1).map(|(run, _)| run.clone()).collect();
        assert!(repeated.is_empty(), "run more than once: {repeated:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_naive_evaluation(
        (specs, rounds) in specs().prop_flat_map(|specs| { let count = specs.len(); (Just(specs), rounds(count)) })
    ) {
        check(&specs, &rounds);
    }
}
