//! Ends of clients and of the daemon itself: whoever goes, nothing of the work stays.

use rustix::process::Signal;

use crate::build_client::{dockerfile, session, solve};
use crate::daemon::Daemon;
use crate::ending::{left_behind, processes_with};
use crate::lab::{Lab, until};

fn mark(test: u32) -> String {
    format!("{}", 8_000_000 + test * 100_000 + std::process::id() % 100_000)
}

/// A Dockerfile whose last step goes on until somebody ends it; the mark names it.
fn endless(mark: &str) -> String {
    format!("FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /id\nRUN echo id=$(cat /id); sleep {mark}\n")
}

#[test]
fn a_client_that_goes_away_takes_its_work_with_it() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab);
    let mark = mark(1);
    let context = lab.context(&endless(&mark), &[]);
    let client = daemon.client();
    let served = client.attach(session(&context));
    let mut request = dockerfile(&[]);
    request.session = served.id().to_owned();
    drop(client.start(solve(client.channel.clone(), request)));
    until("the step runs", || !processes_with(&mark).is_empty());
    drop((served, client));
    until("the step is gone", || processes_with(&mark).is_empty());
    until("nothing is left of it", || left_behind(&lab, daemon.pid(), &mark).is_empty());
    // What was done is kept, and the daemon goes on.
    let context = lab.context("FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /id\nRUN true $(cat /id)\n", &[]);
    let built = daemon.client().build(session(&context), dockerfile(&[])).ok();
    assert_eq!(built.progress.ran().len(), 1, "{built:#?}");
    daemon.stop();
}

#[test]
fn a_session_that_ends_ends_what_waits_for_it() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let context = lab.context("FROM scratch\nCOPY a /\n", &[("a", "A")]);
    let served = client.attach(session(&context));
    let mut request = dockerfile(&[]);
    request.session = served.id().to_owned();
    // Nobody is there any more who has files.
    drop(served);
    let built = client.solve(request);
    assert!(built.result.is_err(), "{built:?}");
    client.build(session(&context), dockerfile(&[])).ok();
    daemon.stop();
}

#[test]
fn a_daemon_that_is_told_to_stop_ends_its_builds() {
    let lab = Lab::new();
    let mut daemon = Daemon::start(&lab);
    let mark = mark(2);
    let context = lab.context(&endless(&mark), &[]);
    let client = daemon.client();
    let served = client.attach(session(&context));
    let mut request = dockerfile(&[]);
    request.session = served.id().to_owned();
    let mut control = client.control();
    let building = client.start(async move { control.solve(request).await });
    until("the step runs", || !processes_with(&mark).is_empty());
    daemon.signal(Signal::TERM);
    let status = client.run(building).unwrap().expect_err("the build cannot end");
    assert!(!status.message().is_empty(), "{status:?}");
    daemon.ended();
    assert_eq!(processes_with(&mark), Vec::<u32>::new());
    // The next daemon, and the command line, find a store in order.
    let daemon = Daemon::start(&lab);
    let context = lab.context("FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /id\nRUN true $(cat /id)\n", &[]);
    let built = daemon.client().build(session(&context), dockerfile(&[])).ok();
    assert_eq!(built.progress.ran().len(), 1, "{built:#?}");
    daemon.stop();
    lab.build_dir(&context, &[]).ok().says("CACHED");
}
