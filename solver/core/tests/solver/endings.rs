//! Failing, being canceled, and what people are told.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rbuild_oci::Digest;
use rbuild_solver::{Edge, Graph, SolveError};

use crate::dsl::{Act, Events, Hanging, Store, Vtx, solve};

async fn events_of(store: &Store, target: &Vtx) -> (Vec<String>, Option<String>) {
    let events = Arc::new(Events::default());
    let result = solve(&store.solver().job(Arc::<Events>::clone(&events)), target).await;
    (events.lines(), result.err().map(|error| error.chain()))
}

#[tokio::test]
async fn people_see_what_ran_and_what_was_cached() {
    let store = Store::memory();
    let context = store.vtx("context").session();
    let copy = store.vtx("copy").on(&store.vtx("image")).reads(&context);
    let (lines, _) = events_of(&store, &store.vtx("run").on(&copy)).await;
    assert_eq!(lines.last().unwrap(), "run done");
    assert_eq!(lines.iter().filter(|line| line.ends_with("done")).count(), 4, "{lines:?}");
    let (lines, _) = events_of(&store, &store.vtx("run").on(&copy)).await;
    let order = ["image cached", "copy cached", "run cached"].map(|line| lines.iter().position(|other| other == line));
    assert!(order.is_sorted() && order[0].is_some(), "inputs first: {lines:?}");
    assert!(lines.contains(&"context done".to_owned()), "it was read for its content: {lines:?}");
}

// items: K012
#[tokio::test]
async fn a_failure_is_told_once_and_not_remembered() {
    for store in [Store::memory(), Store::on_disk()] {
        let build = |act| {
            let first = store.vtx("first").on(&store.vtx("image"));
            let second = store.vtx("second").on(&first).act(act);
            store.vtx("third").on(&second)
        };
        let (lines, error) = events_of(&store, &build(Act::Fail)).await;
        assert_eq!(error.unwrap(), "running `second`: no luck");
        assert_eq!(lines.last().unwrap(), "second failed: no luck");
        assert!(!lines.iter().any(|line| line.starts_with("third")), "{lines:?}");
        assert_eq!(store.calls.take(), "run first, run image, run second");
        store.check(&build(Act::Nothing), "load first(image), run second, run third").await;
    }
}

#[tokio::test]
async fn a_failure_ends_what_else_runs() {
    let store = Store::memory();
    let hanging = Arc::new(Hanging::default());
    let slow = store.vtx("slow").act(Act::Hang(Arc::clone(&hanging)));
    let failing = store.vtx("failing").act(Act::Fail);
    let solver = store.solver();
    let events = Arc::new(Events::default());
    let job = solver.job(Arc::<Events>::clone(&events));
    solve(&job, &store.vtx("top").on(&slow).on(&failing)).await.unwrap_err();
    solver.idle().await;
    assert_eq!(store.calls.take().contains("run slow"), hanging.dropped.load(Ordering::SeqCst));
    drop(job);
    let lines = events.lines();
    assert!(!lines.contains(&"slow started".into()) || lines.contains(&"slow canceled".into()), "{lines:?}");
}

#[tokio::test]
async fn a_later_job_does_not_inherit_a_failure() {
    let store = Store::memory();
    let solver = store.solver();
    let act = Act::FailOnce(Arc::default());
    let target = store.vtx("top").on(&store.vtx("step").on(&store.vtx("image")).act(act));
    let (one, two) = (solver.job(Arc::new(Events::default())), solver.job(Arc::new(Events::default())));
    solve(&one, &target).await.unwrap_err();
    assert_eq!(solve(&two, &target).await.unwrap(), "top(step(image))");
    assert_eq!(store.calls.take(), "run image, run step x2, run top");
}

// items: K012
#[tokio::test]
async fn what_was_done_before_canceling_stays_done() {
    for store in [Store::memory(), Store::on_disk()] {
        let build = |act| store.vtx("top").on(&store.vtx("slow").on(&store.vtx("image")).act(act));
        let hanging = Arc::new(Hanging::default());
        let solver = store.solver();
        let events = Arc::new(Events::default());
        let (job, target) = (solver.job(Arc::<Events>::clone(&events)), build(Act::Hang(Arc::clone(&hanging))));
        let building = tokio::spawn(async move { solve(&job, &target).await });
        hanging.began.notified().await;
        building.abort();
        assert!(building.await.unwrap_err().is_cancelled());
        solver.idle().await;
        assert!(hanging.dropped.load(Ordering::SeqCst));
        assert_eq!(events.lines().last().unwrap(), "slow canceled");
        store.calls.take();
        store.check(&build(Act::Nothing), "load image, run slow, run top").await;
    }
}

#[tokio::test]
async fn a_panic_is_a_failure() {
    let store = Store::memory();
    let (lines, error) = events_of(&store, &store.vtx("top").on(&store.vtx("mad").act(Act::Panic))).await;
    assert_eq!(error.unwrap(), "`mad` stopped without an answer: it panicked: out of mind");
    assert!(lines.last().unwrap().starts_with("mad failed"), "{lines:?}");
}

#[tokio::test]
async fn wrong_graphs_are_refused() {
    let store = Store::memory();
    let (_, error) = events_of(&store, &store.vtx("top").input(&store.vtx("one"), 1, None, false)).await;
    assert_eq!(error.unwrap(), "`one` has no output 1, only 1");
    let (_, error) = events_of(&store, &store.vtx("odd").describe_more(1)).await;
    assert_eq!(error.unwrap(), "`odd` has 0 inputs but describes 1");

    let job = store.solver().job(Arc::new(Events::default()));
    let nowhere = Edge { vertex: Digest::of(b"nowhere"), output: 0 };
    let error = job.solve(&Graph::new(), &[nowhere]).await.unwrap_err();
    assert!(matches!(error, SolveError::MissingVertex { .. }));

    let mut graph = Graph::new();
    let (below, above) = (store.vtx("below"), store.vtx("above").on(&store.vtx("below")));
    above.insert(&mut graph);
    let mut node = graph.get(&below.digest()).unwrap().clone();
    node.inputs.push(Edge { vertex: above.digest(), output: 0 });
    graph.insert(node);
    let error = job.solve(&graph, &[Edge { vertex: above.digest(), output: 0 }]).await.unwrap_err();
    assert!(matches!(error, SolveError::Cycle { .. }));
}

/// Wherever a build is cut off, nothing goes on, nothing is leaked and the next build ends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_may_be_canceled_at_any_moment() {
    for moment in 0..60 {
        let store = Store::memory();
        let build = |version: &str| {
            let step = |name: &str| store.vtx(name).act(Act::Sleep(Duration::from_micros(150)));
            let source = step("source").key(version).value(version).session();
            let (one, two) = (step("one").reads(&source), step("two").reads(&source).outputs(2));
            let copy = step("copy").on(&step("base")).reads(&one);
            let both = step("both").on(&copy).input(&two, 0, None, true).input(&two, 1, None, false);
            step("top").on(&both)
        };
        let value = store.build(&build("old")).await.0.replace("old", "new");
        let solver = store.solver();
        let mut graph = Graph::new();
        build("new").insert(&mut graph);
        let target = Edge { vertex: build("new").digest(), output: 0 };
        let operation = Arc::downgrade(&graph.get(&target.vertex).unwrap().operation);
        let job = solver.job(Arc::new(Events::default()));
        let building = tokio::spawn(async move { job.solve(&graph, &[target]).await.is_ok() });
        tokio::time::sleep(Duration::from_micros(moment * 100)).await;
        building.abort();
        let _ = building.await;
        tokio::time::timeout(Duration::from_secs(10), solver.idle()).await.expect("nothing goes on");
        assert_eq!(operation.strong_count(), 0, "at moment {moment}");
        assert_eq!(store.build(&build("new")).await.0, value);
    }
}
