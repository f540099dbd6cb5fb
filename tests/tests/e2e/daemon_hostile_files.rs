//! Clients whose files are hostile: names that lead elsewhere, lists that make no sense, streams without an end.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{SinkExt, StreamExt};
use rbuild_buildkit_api::control::{BytesMessage, SolveRequest};
use rbuild_buildkit_api::fsutil::{Packet, PacketType, Stat};
use rbuild_buildkit_api::services::file_sync::file_sync_server::{FileSync, FileSyncServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Request, Response, Status, Streaming};

use crate::build_client::{Client, dockerfile, driven, session, solve};
use crate::daemon::Daemon;
use crate::graphs::{definition, local};
use crate::lab::Lab;

const DIRECTORY: u32 = 1 << 31 | 0o755;
const LINK: u32 = 1 << 27 | 0o777;
const FILE: u32 = 0o644;

/// What a client answers to whoever asks for its files.
#[derive(Clone)]
enum Answer {
    /// These packets, and then nothing more.
    Packets(Vec<Packet>),
    /// These packets, and then silence.
    Silence(Vec<Packet>),
    /// These packets, and the last one again and again.
    Endless(Vec<Packet>),
}

#[derive(Clone)]
struct Files(Arc<Answer>);

#[tonic::async_trait]
impl FileSync for Files {
    type DiffCopyStream = BoxStream<'static, Result<Packet, Status>>;
    type TarStreamStream = BoxStream<'static, Result<Packet, Status>>;

    async fn diff_copy(&self, _: Request<Streaming<Packet>>) -> Result<Response<Self::DiffCopyStream>, Status> {
        let packets = match (*self.0).clone() {
            Answer::Packets(packets) => futures::stream::iter(packets).boxed(),
            Answer::Silence(packets) => futures::stream::iter(packets).chain(futures::stream::pending()).boxed(),
            Answer::Endless(packets) => {
                let last = packets.last().cloned().expect("a packet");
                futures::stream::iter(packets).chain(futures::stream::repeat(last)).boxed()
            }
        };
        Ok(Response::new(packets.map(Ok).boxed()))
    }

    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("no archives"))
    }
}

/// Introduces a session of that name which serves files.
fn introduce<T>(id: &str, messages: T) -> Request<T> {
    let mut request = Request::new(messages);
    let map = request.metadata_mut();
    map.insert("x-docker-expose-session-uuid", id.parse().unwrap());
    map.insert("x-docker-expose-session-grpc-method", "/moby.filesync.v1.FileSync/DiffCopy".parse().unwrap());
    request
}

/// Opens a session whose files are these, until what is returned is dropped.
fn offer(client: &Client, id: &str, answer: Answer) -> impl Sized + use<> {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let files = FileSyncServer::new(Files(Arc::new(answer)));
    let server = tonic::transport::Server::builder();
    let once = futures::stream::once(std::future::ready(Ok::<_, std::io::Error>(ours)));
    let (mut outgoing, messages) = futures::channel::mpsc::channel(8);
    let (mut read, mut write) = tokio::io::split(theirs);
    let serving = client.start(async move {
        // It ends with the connection, or by the daemon's refusal.
        let _ = server.serve_with_incoming(files, once.chain(futures::stream::pending())).await;
    });
    let sending = client.start(async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = read.read(&mut buffer).await {
            let data = Bytes::copy_from_slice(&buffer[..length]);
            if outgoing.send(BytesMessage { data }).await.is_err() {
                return;
            }
        }
    });
    let mut control = client.control();
    let mut incoming = client.run(control.session(introduce(id, messages))).expect("a session").into_inner();
    let receiving = client.start(async move {
        while let Ok(Some(message)) = incoming.message().await {
            if write.write_all(&message.data).await.is_err() {
                return;
            }
        }
    });
    Aborted(vec![serving.abort_handle(), sending.abort_handle(), receiving.abort_handle()])
}

/// Tasks that end with this.
struct Aborted(Vec<tokio::task::AbortHandle>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

fn named(path: &str, mode: u32) -> Packet {
    let stat = Stat { path: path.to_owned(), mode, ..Stat::default() };
    Packet { stat: Some(stat), ..Packet::default() }
}

fn linked(path: &str, mode: u32, target: &str) -> Packet {
    let stat = Stat { path: path.to_owned(), mode, linkname: target.to_owned(), ..Stat::default() };
    Packet { stat: Some(stat), ..Packet::default() }
}

fn sized(path: &str, size: i64) -> Packet {
    Packet { stat: Some(Stat { path: path.to_owned(), mode: FILE, size, ..Stat::default() }), ..Packet::default() }
}

fn data(id: u32, bytes: &[u8]) -> Packet {
    Packet { r#type: PacketType::Data.into(), id, data: Bytes::copy_from_slice(bytes), ..Packet::default() }
}

fn of(kind: i32) -> Packet {
    Packet { r#type: kind, ..Packet::default() }
}

/// The end of all names.
fn end() -> Packet {
    Packet::default()
}

/// Asks for the files of a session.
fn request(session: &str) -> SolveRequest {
    let files = definition(vec![(local("context", &[("local.session", session)]), vec![])]);
    SolveRequest { definition: Some(files), session: session.to_owned(), ..driven() }
}

#[test]
fn names_of_hostile_clients_lead_nowhere() {
    let lab = Lab::empty();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let outside = lab.at("outside");
    std::fs::write(&outside, "untouched").unwrap();
    let absolute = outside.to_str().unwrap();
    let long = "x".repeat(5000);
    let deep = format!("{}d", "d/".repeat(3000));
    let cases: Vec<(&str, Vec<Packet>)> = vec![
        ("parent", vec![named("../evil", FILE)]),
        ("parent in the middle", vec![named("a", DIRECTORY), named("a/../../evil", FILE)]),
        ("absolute", vec![named(absolute, FILE)]),
        ("empty name", vec![named("", FILE)]),
        ("dot", vec![named(".", DIRECTORY)]),
        ("two slashes", vec![named("a", DIRECTORY), named("a//b", FILE)]),
        ("NUL", vec![named("a\0b", FILE)]),
        ("twice", vec![named("a", FILE), named("a", FILE)]),
        ("out of order", vec![named("b", FILE), named("a", FILE)]),
        ("no directory", vec![named("a/b", FILE)]),
        ("below a file", vec![named("a", FILE), named("a/b", FILE)]),
        ("below a link", vec![linked("a", LINK, "/tmp"), named("a/b", FILE)]),
        ("long", vec![named(&long, FILE)]),
        ("deep", vec![named(&deep, FILE)]),
        ("hard link outside", vec![linked("a", FILE, "../outside"), end()]),
        ("hard link to an absolute path", vec![linked("a", FILE, absolute), end()]),
        ("hard link through a link", vec![linked("a", LINK, "/etc"), linked("b", FILE, "a/passwd"), end()]),
        ("hard link to what comes later", vec![linked("a", FILE, "b"), named("b", FILE), end()]),
        ("hard link to itself", vec![linked("a", FILE, "a"), end()]),
        ("negative size", vec![sized("a", -1), end()]),
        ("absurd mode", vec![named("a", u32::MAX), end()]),
        ("no name", vec![Packet { stat: Some(Stat::default()), ..Packet::default() }]),
    ];
    for (name, packets) in cases {
        let served = offer(&client, name, Answer::Packets(packets));
        let built = client.solve(request(name));
        drop(served);
        assert!(built.result.is_err(), "{name}: {built:?}");
    }
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "untouched");
    assert!(!lab.at("evil").exists() && !lab.store().join("evil").exists());
    // The daemon serves those who mean well.
    let context = lab.context("FROM scratch\nCOPY a /\n", &[("a", "A")]);
    client.build(session(&context), dockerfile(&[])).ok();
    daemon.stop();
}

#[test]
fn streams_of_hostile_clients_are_bounded() {
    let lab = Lab::empty();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let big = vec![0; 3 << 20];
    let cases: Vec<(&str, Answer)> = vec![
        ("nothing", Answer::Packets(vec![])),
        ("an end at once", Answer::Packets(vec![of(PacketType::Fin.into())])),
        ("a request", Answer::Packets(vec![of(PacketType::Req.into())])),
        ("an error", Answer::Packets(vec![of(PacketType::Err.into())])),
        ("an unknown kind", Answer::Packets(vec![of(77)])),
        ("a negative kind", Answer::Packets(vec![of(i32::MIN)])),
        ("content of nothing", Answer::Packets(vec![data(0, b"x")])),
        ("content of another", Answer::Packets(vec![sized("a", 1), data(u32::MAX, b"x")])),
        ("content after its end", Answer::Packets(vec![sized("a", 1), data(0, b"x"), data(0, b""), data(0, b"y")])),
        ("names after their end", Answer::Packets(vec![sized("a", 1), end(), named("b", FILE)])),
        ("half a file", Answer::Packets(vec![sized("a", i64::MAX), end(), data(0, b"x")])),
        ("content of nothing, endless", Answer::Endless(vec![data(3, &big)])),
        ("names, endless", Answer::Endless(vec![named("a", FILE)])),
        ("huge packets", Answer::Endless(vec![named(&"x".repeat(5 << 20), FILE)])),
        ("a million packets", Answer::Packets(vec![of(PacketType::Data.into()); 1_000_000])),
    ];
    for (name, answer) in cases {
        let served = offer(&client, name, answer);
        let built = client.solve(request(name));
        drop(served);
        assert!(built.result.is_err(), "{name}: {built:?}");
    }
    assert!(daemon.memory() < 256 << 20, "{} bytes", daemon.memory());
    daemon.stop();
}

#[test]
fn clients_that_say_nothing_hold_up_nobody() {
    let lab = Lab::empty();
    let daemon = Daemon::start(&lab);
    let (client, other) = (daemon.client(), daemon.client());
    let silent = offer(&client, "silent", Answer::Silence(vec![sized("a", 5)]));
    // More content than there is place for, of a file that was announced: it goes on until the client goes.
    let endless = offer(&client, "endless", Answer::Endless(vec![sized("a", 5), data(0, &[0; 1 << 16])]));
    let building = ["silent", "endless"].map(|name| client.start(solve(client.channel.clone(), request(name))));
    let context = lab.context("FROM scratch\nCOPY a /\n", &[("a", "A")]);
    other.build(session(&context), dockerfile(&[])).ok();
    drop((silent, endless));
    for building in building {
        let built = client.run(building).expect("no panic");
        assert!(built.result.is_err(), "{built:?}");
    }
    assert!(daemon.memory() < 256 << 20, "{} bytes", daemon.memory());
    daemon.stop();
}

#[test]
fn sessions_of_garbage_are_ended() {
    let lab = Lab::empty();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let preface = Bytes::from_static(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let zeros = Bytes::from(vec![0; 1 << 20]);
    let noise = (0..1 << 16).map(|number: u32| number.wrapping_mul(2_654_435_761).to_le_bytes()[3]);
    let noise = Bytes::from(noise.collect::<Vec<_>>());
    // A frame of settings, then one whose length is as large as can be.
    let huge = Bytes::from_static(&[0, 0, 0, 4, 0, 0, 0, 0, 0, 255, 255, 255, 0, 0, 0, 0, 0, 1]);
    for (name, chunks) in [
        ("nothing", vec![]),
        ("empty", vec![Bytes::new(); 10_000]),
        ("text", vec![Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n")]),
        ("own words", vec![preface]),
        ("zeros", vec![zeros; 8]),
        ("noise", vec![noise; 8]),
        ("a huge frame", vec![huge]),
    ] {
        let messages = futures::stream::iter(chunks.into_iter().map(|data| BytesMessage { data }));
        let mut control = client.control();
        let opened = client.run(control.session(introduce(name, messages)));
        if let Ok(answers) = opened {
            let mut answers = answers.into_inner();
            // It ends, however it does.
            client.run(async { while let Ok(Some(_)) = answers.message().await {} });
        }
        client.run(client.control().info(rbuild_buildkit_api::control::InfoRequest {})).expect("the daemon is well");
    }
    let mut control = client.control();
    let nameless = Request::new(futures::stream::empty::<BytesMessage>());
    client.run(control.session(nameless)).expect_err("a session has a name");
    let long = introduce(&"x".repeat(8000), futures::stream::empty::<BytesMessage>());
    client.run(client.control().session(long)).expect_err("the name is too long");
    assert!(daemon.memory() < 256 << 20, "{} bytes", daemon.memory());
    daemon.stop();
}
