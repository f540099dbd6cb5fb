//! What is found, by which way, and at what cost.

use std::sync::Arc;

use rbuild_oci::Digest;
use rbuild_solver::{Memory, Miss, Probe, Question, Verdict};

use crate::dsl::{Events, Store, solve};

/// A Dockerfile's shape: an image, a copy from a context that is never the same twice, two steps.
fn image_build(store: &Store, session: &str, content: &str) -> crate::dsl::Vtx {
    let image = store.vtx("image");
    let context = store.vtx("context").key(session).value(content).session();
    let copy = store.vtx("copy").on(&image).reads(&context);
    let run = store.vtx("run").on(&copy);
    store.vtx("last").on(&run)
}

// items: K001
#[tokio::test]
async fn a_cached_target_evaluates_none_of_its_inputs() {
    for store in [Store::memory(), Store::on_disk()] {
        let target = store.vtx("c").on(&store.vtx("b").on(&store.vtx("a")));
        assert_eq!(store.check(&target, "run a, run b, run c").await, "c(b(a))");
        assert_eq!(store.check(&target, "load c(b(a))").await, "c(b(a))");
        let longer = store.vtx("d").on(&target);
        assert_eq!(store.check(&longer, "load c(b(a)), run d").await, "d(c(b(a)))");
    }
}

// items: K001
#[tokio::test]
async fn touched_files_find_everything_by_content() {
    for store in [Store::memory(), Store::on_disk()] {
        store.build(&image_build(&store, "monday", "files")).await;
        let again = image_build(&store, "tuesday", "files");
        let calls = "content copy[1], load last(run(copy(image,files))), run context";
        assert_eq!(store.check(&again, calls).await, "last(run(copy(image,files)))");
    }
}

#[tokio::test]
async fn a_job_with_another_memory_asks_that_one_and_is_apart() {
    let (store, other) = (Store::memory(), Store::memory());
    let target = store.vtx("b").on(&store.vtx("a"));
    store.check(&target, "run a, run b").await;
    let memory = Memory { cache: store.cache(), results: store.results.clone(), scope: Digest::of(b"memory") };
    let solver = other.solver();
    let (plain, with) = (solver.job(Arc::new(Events::default())), Arc::new(Events::default()));
    let with = solver.job_with(with, &memory);
    assert_eq!(solve(&with, &target).await.unwrap(), "b(a)");
    assert_eq!(store.calls.take(), "load b(a)");
    assert_eq!(solve(&plain, &target).await.unwrap(), "b(a)");
    assert_eq!(store.calls.take(), "run a, run b", "the other job knows nothing of it");
    let explained = with.explanations();
    let step = explained.iter().find(|explained| explained.name == "b").unwrap();
    assert_eq!((step.keys.len(), step.inputs[0].output, step.inputs[0].selector), (1, 0, None));
}

#[tokio::test]
async fn changed_files_run_what_depends_on_them() {
    let store = Store::memory();
    store.build(&image_build(&store, "monday", "files")).await;
    let changed = image_build(&store, "tuesday", "other");
    let calls = "content copy[1], load image, run context, run copy, run last, run run";
    assert_eq!(store.check(&changed, calls).await, "last(run(copy(image,other)))");
}

#[tokio::test]
async fn a_changed_image_is_a_miss_without_looking_at_contents_in_vain() {
    let store = Store::memory();
    let build = |image: &str, tools: &str| {
        let copy = store.vtx("copy").on(&store.vtx(image)).reads(&store.vtx(tools));
        store.vtx("last").on(&copy)
    };
    store.build(&build("image1", "tools1")).await;
    // The new base leads nowhere: the copy runs, and its content key is computed for later builds.
    let calls = "content copy[1], load tools1, run copy, run image2, run last";
    store.check(&build("image2", "tools1"), calls).await;
    // Now each of the two alone is known, and so is the content of the tools.
    store.check(&build("image2", "tools1"), "load last(copy(image2,tools1))").await;
}

#[tokio::test]
async fn equal_content_from_elsewhere_is_linked_for_the_next_build() {
    for store in [Store::memory(), Store::on_disk()] {
        let build = |tools: &str| store.vtx("copy").on(&store.vtx("base")).reads(&store.vtx(tools).value("same"));
        store.build(&build("tools1")).await;
        store.check(&build("tools2"), "content copy[1], load copy(base,same), run tools2").await;
        store.check(&build("tools2"), "load copy(base,same)").await;
        store.check(&build("tools1"), "load copy(base,same)").await;
    }
}

#[tokio::test]
async fn a_step_behind_equal_content_is_found_without_loading_what_is_between() {
    let store = Store::memory();
    let build = |tools: &str| {
        let copy = store.vtx("copy").on(&store.vtx("base")).reads(&store.vtx(tools).value("same"));
        store.vtx("run").on(&copy)
    };
    store.build(&build("tools1")).await;
    store.check(&build("tools2"), "content copy[1], load run(copy(base,same)), run tools2").await;
    store.check(&build("tools2"), "load run(copy(base,same))").await;
}

#[tokio::test]
async fn only_the_content_that_can_decide_is_looked_at() {
    let store = Store::memory();
    let build = |first: &str, second: &str| {
        let (first, second) = (store.vtx(first).value("one"), store.vtx(second).value("two"));
        store.vtx("join").reads(&first).reads(&second)
    };
    store.build(&build("a1", "b1")).await;
    store.check(&build("a1", "b2"), "content join[1], load join(one,two), run b2").await;
    store.check(&build("a2", "b1"), "content join[0], load join(one,two), run a2").await;
    // Never seen together, but each links to the same result.
    store.check(&build("a2", "b2"), "load join(one,two)").await;
}

#[tokio::test]
async fn inputs_known_apart_may_never_have_met() {
    let store = Store::memory();
    let build = |first: &str, second: &str| store.vtx("join").on(&store.vtx(first)).on(&store.vtx(second));
    store.build(&build("a1", "b1")).await;
    store.build(&build("a2", "b2")).await;
    let calls = "load a1, load b2, run join";
    assert_eq!(store.check(&build("a1", "b2"), calls).await, "join(a1,b2)");
}

#[tokio::test]
async fn a_selector_is_part_of_the_way() {
    let store = Store::memory();
    let build = |selector: &str| store.vtx("copy").input(&store.vtx("src"), 0, Some(selector), false);
    store.build(&build("/a")).await;
    store.check(&build("/b"), "load src, run copy").await;
    store.check(&build("/a"), "load copy(src)").await;
    store.check(&build("/b"), "load copy(src)").await;
}

#[tokio::test]
async fn equal_content_counts_whatever_was_selected() {
    let store = Store::memory();
    let build = |selector: &str| store.vtx("copy").input(&store.vtx("src"), 0, Some(selector), true);
    store.build(&build("/a")).await;
    store.check(&build("/b"), "content copy[0], load copy(src), load src").await;
    store.check(&build("/b"), "load copy(src)").await;
}

#[tokio::test]
async fn outputs_of_one_run_are_kept_apart() {
    for store in [Store::memory(), Store::on_disk()] {
        let two = store.vtx("two").outputs(2).on(&store.vtx("a"));
        let both = store.vtx("both").input(&two, 0, None, false).input(&two, 1, None, false);
        assert_eq!(store.check(&both, "run a, run both, run two").await, "both(two(a),two(a).1)");
        let swapped = store.vtx("swapped").input(&two, 1, None, false).input(&two, 0, None, false);
        let calls = "load two(a), load two(a).1, run swapped";
        assert_eq!(store.check(&swapped, calls).await, "swapped(two(a).1,two(a))");
        let second = store.vtx("second").input(&two, 1, None, false);
        assert_eq!(store.check(&second, "load two(a).1, run second").await, "second(two(a).1)");
    }
}

#[tokio::test]
async fn a_lost_result_is_made_again_under_its_old_name() {
    for store in [Store::memory(), Store::on_disk()] {
        let middle = store.vtx("b").on(&store.vtx("a"));
        let target = store.vtx("c").on(&middle);
        store.build(&target).await;
        store.results.lose("b(");
        store.check(&target, "load a, run b, run c").await;
        store.check(&target, "load c(b(a))").await;
        store.results.lose("b(a)");
        store.check(&middle, "load a, run b").await;
        store.results.lose("c(");
        store.check(&target, "load b(a), run c").await;
    }
}

#[tokio::test]
async fn repeated_builds_leave_no_trace() {
    for store in [Store::memory(), Store::on_disk()] {
        store.build(&image_build(&store, "0", "files")).await;
        let first = store.cache().count().unwrap();
        for session in 1..5 {
            store.build(&image_build(&store, &session.to_string(), "files")).await;
            assert_eq!(store.cache().count().unwrap(), first);
        }
        let keys: Vec<_> = store.cache().records().unwrap().iter().map(|record| record.key).collect();
        assert_eq!(keys.len(), 4, "image, copy, run, last; not the context");
        store.cache().remove(&keys).unwrap();
        assert_eq!(store.cache().count().unwrap(), rbuild_solver::Count::default());
    }
}

#[tokio::test]
async fn what_stands_on_a_session_is_not_stored() {
    let store = Store::memory();
    let build = |session: &str| store.vtx("run").on(&store.vtx("context").key(session).session());
    store.check(&build("monday"), "run context, run run").await;
    assert_eq!(store.cache().count().unwrap(), rbuild_solver::Count::default());
    store.check(&build("tuesday"), "run context, run run").await;
}

#[tokio::test]
async fn use_is_noted_of_all_that_was_found() {
    let store = Store::on_disk();
    let target = store.vtx("c").on(&store.vtx("b").on(&store.vtx("a")));
    for builds in 0..3 {
        store.build(&target).await;
        let counts: Vec<_> = store.cache().records().unwrap().iter().map(|record| record.use_count).collect();
        assert_eq!(counts, [builds; 3]);
    }
}

#[tokio::test]
async fn misses_are_explained() {
    let store = Store::memory();
    let build = |image: &str| store.vtx("run").on(&store.vtx("copy").on(&store.vtx(image)));
    let explained = async |target| {
        let job = store.solver().job(std::sync::Arc::new(Events::default()));
        solve(&job, &target).await.unwrap();
        job.explanations().into_iter().map(|explanation| (explanation.name, explanation.verdict)).collect::<Vec<_>>()
    };
    let changed = || Verdict::Made(Miss::InputsChanged(vec![0]));
    let made = explained(build("image")).await;
    let expected = [("image", Verdict::Made(Miss::Unseen)), ("copy", changed()), ("run", changed())];
    assert_eq!(made, expected.map(|(name, verdict)| (name.to_owned(), verdict)));

    let job = store.solver().job(std::sync::Arc::new(Events::default()));
    solve(&job, &build("image")).await.unwrap();
    let explanations = job.explanations();
    assert!(matches!(explanations[1].verdict, Verdict::Known(_)));
    assert!(matches!(explanations[2].verdict, Verdict::Loaded(_)));
    assert_eq!(explanations[2].probes, [Probe::Ask(vec![(0, Question::FastKeys)]), Probe::Load]);

    store.results.lose("run(");
    let made = explained(build("image")).await;
    assert!(matches!(made[2].1, Verdict::Made(Miss::RecordGone(_))), "{made:?}");
    let made = explained(build("image").ignore_cache()).await;
    assert_eq!(made[2].1, Verdict::Made(Miss::Ignored));
}
