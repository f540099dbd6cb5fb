//! Both ends of a transfer, the other one hostile.

use std::os::unix::fs::symlink;
use std::path::Path;

use tokio::sync::mpsc;

use super::mode::{Kind, to_go};
use super::{Packet, ReceiveOptions, Stat, receive};

fn stat(path: &str, kind: Kind, linkname: &str) -> Packet {
    Packet::stat(Some(Stat {
        path: path.as_bytes().to_vec(),
        mode: to_go(kind, 0o644),
        linkname: linkname.as_bytes().to_vec(),
        ..Stat::default()
    }))
}

fn file(path: &str) -> Packet {
    stat(path, Kind::File, "")
}

fn directory(path: &str) -> Packet {
    stat(path, Kind::Directory, "")
}

fn data(id: u32, text: &str) -> Packet {
    Packet::data(id, bytes::Bytes::copy_from_slice(text.as_bytes()))
}

fn end() -> Packet {
    Packet::stat(None)
}

/// Receives packets into a directory; returns the error.
async fn received(into: &Path, packets: Vec<Packet>) -> Result<(), String> {
    let (outgoing, mut answers) = mpsc::unbounded_channel();
    let incoming = futures::stream::iter(packets.into_iter().map(Ok));
    let options = ReceiveOptions::default();
    let received = receive(incoming, outgoing, into.to_owned(), options, (), |_| {}).await;
    let mut told = false;
    while let Ok(answer) = answers.try_recv() {
        told |= answer.kind == i32::from(super::wire::Kind::Err);
    }
    assert_eq!(told, received.is_err(), "the sender is told of errors");
    received.map_err(|error| error.line())
}

#[tokio::test]
async fn hostile_packets_are_refused_and_change_nothing_outside() {
    let table: Vec<(Vec<Packet>, &str)> = vec![
        (vec![file("../escape")], "component `.` or `..`"),
        (vec![file("/etc/passwd")], "absolute"),
        (vec![file("a"), file("a")], "out of order or twice"),
        (vec![file("b"), file("a")], "out of order or twice"),
        (vec![stat("a", Kind::Symlink, "../outside"), file("a/b")], "named before"),
        (vec![stat("a", Kind::File, "../outside/canary"), end()], "Invalid argument"),
        (vec![stat("a", Kind::File, "missing"), end()], "not there"),
        (vec![stat("a", Kind::Symlink, ""), end()], "no link can have"),
        (vec![Packet::stat(Some(Stat { path: b"a".to_vec(), mode: u32::MAX, ..Stat::default() }))], "no kind"),
        (vec![Packet::stat(Some(Stat { path: b"a".to_vec(), size: -1, ..Stat::default() }))], "negative size"),
        (vec![data(7, "x")], "not asked for"),
        (vec![directory("a"), data(0, "x")], "not asked for"),
        (vec![file("a"), data(0, "x"), data(0, ""), data(0, "y")], "not asked for"),
        (vec![file("a"), end(), file("b")], "after the end"),
        (vec![file("a"), end(), data(0, "x")], "stopped before"),
        (vec![Packet::request(0)], "was asked for content"),
        (vec![Packet { kind: 99, ..Packet::default() }], "was asked for content"),
        (vec![Packet::error("no\nluck")], "error from the other side: no luck"),
        (vec![], "stopped before"),
    ];
    for (packets, expect) in table {
        let scratch = tempfile::tempdir().unwrap();
        let (into, outside) = (scratch.path().join("into"), scratch.path().join("outside"));
        std::fs::create_dir(&into).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("canary"), "sings").unwrap();
        let shown = format!("{packets:?}");
        let error = received(&into, packets).await.unwrap_err();
        assert!(error.contains(expect), "{shown}: {error}");
        assert_eq!(std::fs::read_to_string(outside.join("canary")).unwrap(), "sings");
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 2);
    }
}

#[tokio::test]
async fn links_of_an_earlier_copy_are_not_followed() {
    let scratch = tempfile::tempdir().unwrap();
    let into = scratch.path().join("into");
    std::fs::create_dir(&into).unwrap();
    std::fs::create_dir(scratch.path().join("outside")).unwrap();
    symlink("../outside", into.join("a")).unwrap();
    symlink("../outside/file", into.join("b")).unwrap();
    let packets =
        vec![directory("a"), file("a/x"), file("b"), data(1, "in"), data(1, ""), data(2, "in"), data(2, ""), end()];
    received(&into, [packets, vec![Packet::fin()]].concat()).await.unwrap();
    assert_eq!(std::fs::read_dir(scratch.path().join("outside")).unwrap().count(), 0);
    assert_eq!(std::fs::read_to_string(into.join("a/x")).unwrap(), "in");
    assert_eq!(std::fs::read_to_string(into.join("b")).unwrap(), "in");
}
