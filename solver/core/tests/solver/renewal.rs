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
