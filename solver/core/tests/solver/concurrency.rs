//! Who works on what at the same time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Barrier;

use crate::dsl::{Act, Events, Hanging, Store, solve};

#[tokio::test]
async fn independent_vertices_run_at_the_same_time() {
    let store = Store::memory();
    let meet = Act::Meet(Arc::new(Barrier::new(3)));
    let [a, b, c] = ["a", "b", "c"].map(|name| store.vtx(name).act(meet.clone()));
    let (left, right) = (store.vtx("left").on(&a).on(&b), store.vtx("right").reads(&c));
    let target = store.vtx("top").on(&left).on(&right);
    store.check(&target, "content right[0], run a, run b, run c, run left, run right, run top").await;
}

// items: K012
#[tokio::test]
async fn a_vertex_wanted_twice_runs_once() {
    let store = Store::memory();
    let shared = store.vtx("shared").act(Act::Sleep(Duration::from_millis(5)));
    let (left, right) = (store.vtx("left").on(&shared), store.vtx("right").on(&shared).on(&shared));
    store.check(&store.vtx("top").on(&left).on(&right), "run left, run right, run shared, run top").await;
}

#[tokio::test]
async fn jobs_at_the_same_time_share_work_but_not_what_is_set_apart() {
    let store = Store::memory();
    let solver = store.solver();
    let builds = (0..4).map(|index| {
        let (solver, slow) = (solver.clone(), store.vtx("slow").act(Act::Sleep(Duration::from_millis(20))));
        let own = store.vtx("own").session().scope(if index % 2 == 0 { "even" } else { "odd" });
        let target = store.vtx("top").on(&slow).on(&own);
        async move { solve(&solver.job(Arc::new(Events::default())), &target).await.unwrap() }
    });
    join_all(builds).await;
    assert_eq!(store.calls.take(), "run own x2, run slow, run top x2");
}

#[tokio::test]
async fn different_definitions_of_the_same_step_run_once() {
    let store = Store::memory();
    let sleep = Act::Sleep(Duration::from_millis(10));
    let compile = |name: &str, source: &str| {
        let source = store.vtx(source).value("text");
        store.vtx(name).key("compile").value("binary").reads(&source).act(sleep.clone())
    };
    let top = store.vtx("top").on(&compile("one", "a")).on(&compile("two", "b"));
    let (value, calls) = store.build(&top).await;
    assert_eq!(value, "top(binary,binary)");
    assert_eq!(calls.matches("run one").count() + calls.matches("run two").count(), 1, "{calls}");
}

// items: K012
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_share_a_store_run_each_step_once() {
    let store = Store::on_disk();
    let sleep = Act::Sleep(Duration::from_millis(15));
    let builds = (0..8).map(|session| {
        let context = store.vtx("context").key(&session.to_string()).value("files").session();
        let copy = store.vtx("copy").on(&store.vtx("image")).reads(&context).act(sleep.clone());
        let two = store.vtx("two").on(&copy).outputs(2).act(sleep.clone());
        let target = store.vtx("top").input(&two, 1, None, false).input(&two, 0, None, false);
        let solver = store.solver();
        tokio::spawn(async move { solve(&solver.job(Arc::new(Events::default())), &target).await.unwrap() })
    });
    for value in join_all(builds).await {
        assert_eq!(value.unwrap(), "top(two(copy(image,files)).1,two(copy(image,files)))");
    }
    let calls = store.calls.take();
    let runs: Vec<_> = calls.split(", ").filter(|call| call.starts_with("run ")).collect();
    assert_eq!(runs, ["run context x8", "run copy", "run image", "run top", "run two"]);
}

#[tokio::test]
async fn waiting_for_another_process_is_shown_and_ends_with_its_result() {
    let store = Store::on_disk();
    let hanging = Arc::new(Hanging::default());
    let (first, second) = (store.solver(), store.solver());
    let stuck = store.vtx("step").act(Act::Hang(Arc::clone(&hanging)));
    let other = tokio::spawn(async move { solve(&first.job(Arc::new(Events::default())), &stuck).await });
    hanging.began.notified().await;

    let events = Arc::new(Events::default());
    let (job, step) = (second.job(Arc::<Events>::clone(&events)), store.vtx("step"));
    let waiting = tokio::spawn(async move { solve(&job, &step).await });
    let message = "waiting for another build that runs this step";
    while !events.lines().iter().any(|line| line == message) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(events.lines(), ["step started", "step paused", "step started", message]);
    other.abort();
    assert_eq!(waiting.await.unwrap().unwrap(), "step");
}

#[tokio::test]
async fn one_of_two_who_wait_may_leave() {
    let store = Store::memory();
    let solver = store.solver();
    let hanging = Arc::new(Hanging::default());
    let target = store.vtx("top").on(&store.vtx("slow").act(Act::Hang(Arc::clone(&hanging))));
    let begin = || {
        let (job, target) = (solver.job(Arc::new(Events::default())), target.clone());
        tokio::spawn(async move { solve(&job, &target).await })
    };
    let (one, two) = (begin(), begin());
    hanging.began.notified().await;
    one.abort();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(!hanging.dropped.load(Ordering::SeqCst), "the other still waits");
    two.abort();
    let _ = two.await;
    solver.idle().await;
    assert!(hanging.dropped.load(Ordering::SeqCst));
    assert_eq!(store.calls.take(), "run slow");
}

#[tokio::test]
async fn a_limit_holds() {
    let store = Store::memory();
    let settings =
        rbuild_solver::Settings { parallelism: std::num::NonZeroUsize::new(1), ..rbuild_solver::Settings::default() };
    let results = Arc::<crate::dsl::Results>::clone(&store.results);
    let solver = rbuild_solver::Solver::new(store.cache(), results, settings);
    let meet = Act::Meet(Arc::new(Barrier::new(2)));
    let (a, b) = (store.vtx("a").act(meet.clone()), store.vtx("b").act(meet));
    let (job, top) = (solver.job(Arc::new(Events::default())), store.vtx("top").on(&a).on(&b));
    let both = tokio::time::timeout(Duration::from_millis(20), solve(&job, &top)).await;
    assert!(both.is_err(), "two that wait for each other cannot meet");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deep_graph_needs_no_deep_stack() {
    use rbuild_oci::Digest;
    use rbuild_solver::{Edge, Graph, Node};

    let store = Store::memory();
    let build = async |depth: u32| {
        let mut graph = Graph::new();
        for index in 0..depth {
            let digest = |index: u32| Digest::of(&index.to_be_bytes());
            let below = index.checked_sub(1).map(|below| Edge { vertex: digest(below), output: 0 });
            let step = store.vtx(&index.to_string()).value("x");
            let step = if index == 0 { step } else { step.on(&store.vtx("below")) };
            graph.insert(Node {
                digest: digest(index),
                name: index.to_string(),
                inputs: below.into_iter().collect(),
                ignore_cache: false,
                scope: None,
                operation: Arc::new(step),
            });
        }
        let job = store.solver().job(Arc::new(Events::default()));
        let target = Edge { vertex: Digest::of(&(depth - 1).to_be_bytes()), output: 0 };
        job.solve(&graph, &[target]).await.unwrap();
    };
    build(5_000).await;
    build(5_000).await;
}

/// The shape of a Dockerfile whose last stage copies from two others.
#[tokio::test]
async fn stages_copied_from_run_at_the_same_time_and_none_twice() {
    let store = Store::memory();
    let build = |version: &str, act: Act, slow: Act| {
        let source = store.vtx("source").key(version).value(version);
        let one = store.vtx("one").on(&source).act(act.clone());
        let two = store.vtx("two").on(&store.vtx("wait").on(&source).act(act)).act(slow);
        let copy_one = store.vtx("copy-one").on(&store.vtx("base")).reads(&one);
        let copy_two = store.vtx("copy-two").on(&copy_one).reads(&two);
        store.vtx("top").on(&copy_two)
    };
    store.build(&build("1", Act::Nothing, Act::Nothing)).await;
    // The content of `one` shows that nothing will be found, while `two` still runs.
    let meet = Act::Meet(Arc::new(Barrier::new(2)));
    let calls = "content copy-one[1], content copy-two[1], load base, run copy-one, run copy-two, run one, \
                 run source, run top, run two, run wait";
    store.check(&build("2", meet, Act::Sleep(Duration::from_millis(20))), calls).await;
}
