//! Steps that are to be done again.

use std::sync::Arc;

use crate::dsl::{Events, Store, Vtx, solve};

fn chain(store: &Store, renew: bool) -> Vtx {
    let update = store.vtx("update").on(&store.vtx("image"));
    let update = if renew { update.ignore_cache() } else { update };
    store.vtx("install").on(&update)
}

#[tokio::test]
async fn what_stands_on_a_renewed_step_is_done_again_too() {
    for store in [Store::memory(), Store::on_disk()] {
        store.build(&chain(&store, false)).await;
        store.check(&chain(&store, true), "load image, run install, run update").await;
        store.check(&chain(&store, false), "load install(update(image))").await;
        store.check(&chain(&store, true), "load image, run install, run update").await;
    }
}

#[tokio::test]
async fn renewing_replaces_and_does_not_pile_up() {
    for store in [Store::memory(), Store::on_disk()] {
        store.build(&chain(&store, false)).await;
        let first = store.cache().count().unwrap();
        for _ in 0..3 {
            store.build(&chain(&store, true)).await;
            assert_eq!(store.cache().count().unwrap(), first);
        }
    }
}

#[tokio::test]
async fn a_renewed_step_with_the_same_result_is_found_by_content() {
    let store = Store::memory();
    let build = |renew| {
        let make = store.vtx("make").on(&store.vtx("image"));
        let make = if renew { make.ignore_cache() } else { make };
        store.vtx("copy").on(&store.vtx("base")).reads(&make)
    };
    store.build(&build(false)).await;
    store.check(&build(true), "content copy[1], load copy(base,make(image)), load image, run make").await;
}

#[tokio::test]
async fn jobs_that_renew_share_nothing_with_those_that_do_not() {
    let store = Store::memory();
    store.build(&chain(&store, false)).await;
    let solver = store.solver();
    let (lazy, eager) = (solver.job(Arc::new(Events::default())), solver.job(Arc::new(Events::default())));
    solve(&lazy, &chain(&store, false)).await.unwrap();
    assert_eq!(store.calls.take(), "load install(update(image))");
    solve(&eager, &chain(&store, true)).await.unwrap();
    assert_eq!(store.calls.take(), "load image, run install, run update");
}

/// Two stages whose copies are one step, by content: of a file of the context, and of the copy.
fn stages(store: &Store, session: &str, renew: bool) -> Vtx {
    let step = |vertex: Vtx| if renew { vertex.ignore_cache() } else { vertex };
    let image = store.vtx("image");
    let context = store.vtx("context").key(session).value("file").session();
    let first = step(store.vtx("copy").on(&image).reads(&context).value("file"));
    let made = step(store.vtx("run a").on(&first));
    let second = step(store.vtx("copy again").key("copy").on(&image).reads(&first).value("file"));
    let made_too = step(store.vtx("run b").on(&second));
    let joined = step(store.vtx("join").on(&store.vtx("base")).reads(&made));
    step(store.vtx("join too").on(&joined).reads(&made_too))
}

#[tokio::test]
async fn the_same_step_done_anew_twice_keeps_what_stands_on_it() {
    for store in [Store::memory(), Store::on_disk()] {
        let mut session = 0;
        let mut next = |renew| {
            session += 1;
            stages(&store, &session.to_string(), renew)
        };
        store.build(&next(false)).await;
        let first = store.cache().count().unwrap();
        let (value, found) = store.build(&next(false)).await;
        let ran = |calls: &str| calls.split(", ").filter(|call| call.starts_with("run ")).count();
        assert_eq!(ran(&found), 1, "only the context: {found}");
        for _ in 0..3 {
            let (again, calls) = store.build(&next(true)).await;
            assert_eq!(again, value);
            assert_eq!(ran(&calls), 7, "every step: {calls}");
            assert_eq!(store.build(&next(false)).await, (value.clone(), found.clone()));
            assert_eq!(store.cache().count().unwrap(), first);
        }
    }
}

#[tokio::test]
async fn a_renewed_step_leaves_alone_those_that_share_an_input() {
    for store in [Store::memory(), Store::on_disk()] {
        let build = |image: &str, renew: bool| {
            let context = store.vtx("context").key(&format!("{image}{renew}")).value("file").session();
            let copy = store.vtx("copy").on(&store.vtx(image)).reads(&context);
            store.vtx("run").on(&if renew { copy.ignore_cache() } else { copy })
        };
        store.build(&build("image1", false)).await;
        store.build(&build("image2", false)).await;
        store.build(&build("image2", true)).await;
        for image in ["image1", "image2"] {
            let calls = format!("content copy[1], load run(copy({image},file)), run context");
            store.check(&build(image, false), &calls).await;
        }
    }
}

#[tokio::test]
async fn every_way_leads_to_the_renewed_step() {
    for store in [Store::memory(), Store::on_disk()] {
        let build = |tools: &str, renew: bool| {
            let copy = store.vtx("copy").on(&store.vtx("base")).reads(&store.vtx(tools).value("same"));
            if renew { copy.ignore_cache() } else { copy }
        };
        store.build(&build("tools1", false)).await;
        store.build(&build("tools2", false)).await;
        store.build(&build("tools1", true)).await;
        let records = store.cache().records().unwrap().len();
        store.check(&build("tools2", false), "load copy(base,same)").await;
        assert_eq!(store.cache().records().unwrap().len(), records);
    }
}

/// What was made of a former result stays known by that result's content, as with any content: who
/// removes those records removes all that is left of the former builds.
#[tokio::test]
async fn contents_of_former_results_go_with_their_records() {
    for store in [Store::memory(), Store::on_disk()] {
        let build = |id: &str| {
            let made = store.vtx("random").on(&store.vtx("image")).value(id).ignore_cache();
            store.vtx("copy").on(&store.vtx("base")).reads(&made).ignore_cache()
        };
        store.build(&build("0")).await;
        let first = store.cache().count().unwrap();
        for id in ["1", "2", "3"] {
            store.build(&build(id)).await;
        }
        let mut copies = store.cache().records().unwrap();
        copies.retain(|record| record.description == "copy");
        copies.sort_by(|one, other| one.result.cmp(&other.result));
        let former: Vec<_> = copies[..copies.len() - 1].iter().map(|record| record.key).collect();
        assert_eq!(store.cache().remove(&former).unwrap(), 3);
        assert_eq!(store.cache().count().unwrap(), first);
    }
}

#[tokio::test]
async fn lost_results_are_removed_with_all_that_led_to_them() {
    for store in [Store::memory(), Store::on_disk()] {
        store.build(&chain(&store, false)).await;
        let cache = store.cache();
        assert_eq!(cache.remove_lost(&mut |record| record.description == "install").unwrap(), 1);
        store.check(&chain(&store, false), "load update(image), run install").await;
        assert_eq!(cache.remove_lost(&mut |_| false).unwrap(), 0);
        assert_eq!(cache.remove_lost(&mut |_| true).unwrap(), 3);
        assert_eq!(cache.count().unwrap(), rbuild_solver::Count::default());
    }
}
