//! Several clients, and the command line, on one store: what is the same is done once.

use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rbuild_buildkit_api::control::{SolveRequest, StatusRequest, Vertex};
use rbuild_session::client::ClientSession;

use crate::build_client::{Client, dockerfile, driven, session, solve};
use crate::built::Built;
use crate::daemon::Daemon;
use crate::graphs::{definition, local, mkfile};
use crate::lab::{Lab, path};

/// Builds at once what each of the clients asks for.
fn at_once(clients: &[Client], request: impl Fn(usize) -> (ClientSession, SolveRequest)) -> Vec<Built> {
    let mut served = Vec::new();
    let mut running = Vec::new();
    for (number, client) in clients.iter().enumerate() {
        let (session, request) = request(number);
        let session = client.attach(session);
        let request = SolveRequest { session: session.id().to_owned(), ..request };
        served.push(session);
        running.push(client.start(solve(client.channel.clone(), request)));
    }
    running.into_iter().zip(clients).map(|(building, client)| client.run(building).expect("no panic")).collect()
}

/// A port that answers nobody before it is let, so that the step that asks it lasts as long as the test wants.
struct Gate {
    port: u16,
    asked: Receiver<TcpStream>,
}

impl Gate {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, asked) = channel();
        std::thread::spawn(move || listener.incoming().flatten().try_for_each(|stream| sender.send(stream)));
        Self { port, asked }
    }

    /// Returns who asked first; to drop it is the answer.
    fn first(&self) -> TcpStream {
        self.asked.recv_timeout(Duration::from_secs(60)).expect("a step asks")
    }
}

#[test]
fn the_same_step_of_two_clients_runs_once() {
    let lab = Lab::new();
    let gate = Gate::open();
    let daemon = Daemon::with(&lab, &["--allow-insecure-entitlement", "network.host"]);
    let clients = [daemon.client(), daemon.client()];
    let step = "RUN --network=host cat /proc/sys/kernel/random/uuid > /id; nc 127.0.0.1";
    let text = format!("FROM busybox\n{step} {}; echo id=$(cat /id)=\n", gate.port);
    let context = lab.context(&text, &[]);
    let mut served = Vec::new();
    let mut building = Vec::new();
    let mut asked = None;
    for client in &clients {
        let session = client.attach(session(&context));
        let entitlements = vec!["network.host".to_owned()];
        let request = SolveRequest { session: session.id().to_owned(), entitlements, ..dockerfile(&[]) };
        let status = StatusRequest { r#ref: request.r#ref.clone() };
        served.push(session);
        building.push(client.start(solve(client.channel.clone(), request)));
        asked.get_or_insert_with(|| gate.first());
        let mut control = client.control();
        let begun = client.run(async move {
            let mut messages = control.status(status).await?.into_inner();
            while let Some(message) = messages.message().await? {
                let is_step = |vertex: &Vertex| vertex.name.contains("nc 127.0.0.1") && vertex.started.is_some();
                if message.vertexes.iter().any(is_step) {
                    return Ok(true);
                }
            }
            Ok::<_, tonic::Status>(false)
        });
        assert!(begun.expect("the build can be followed"), "the step has begun for this client");
    }
    drop(asked);
    let ids: Vec<_> = building
        .into_iter()
        .zip(&clients)
        .map(|(building, client)| {
            let logs = client.run(building).unwrap().ok().progress.logs;
            logs.split('=').nth(1).expect("the step's id").to_owned()
        })
        .collect();
    assert_eq!(ids[0], ids[1]);
    assert!(gate.asked.try_recv().is_err(), "it asked once");
    drop(served);
    daemon.stop();
}

#[test]
fn sixteen_clients_at_once() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab);
    let clients: Vec<_> = (0..16).map(|_| daemon.client()).collect();
    let contexts: Vec<_> = (0..16)
        .map(|number| lab.context("FROM busybox\nRUN echo shared > /s\nCOPY n /n\n", &[("n", &number.to_string())]))
        .collect();
    let built = at_once(&clients, |number| {
        let out = lab.at(&format!("out{number}"));
        let request = crate::build_client::with_output(dockerfile(&[]), "local", &[]);
        (session(&contexts[number]).with_directory(0, out), request)
    });
    for (number, built) in built.into_iter().enumerate() {
        built.ok();
        // Each got its own, not that of a neighbour.
        let kept = std::fs::read_to_string(lab.at(&format!("out{number}/n"))).unwrap();
        assert_eq!(kept, number.to_string());
    }
    daemon.stop();
}

#[test]
fn daemon_and_command_line_share_a_store() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let text = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /id\n";
    let (ours, theirs) = (lab.context(text, &[]), lab.context(&text.replace("uuid", "boot_id"), &[]));
    let mut both = Vec::new();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| lab.build_dir(&theirs, &["-t", "theirs"]).ok());
        both.push(client.build(session(&ours), dockerfile(&[])).ok());
        other.join().expect("no panic");
    });
    // What one has built is cached for the other.
    lab.build_dir(&ours, &["-t", "ours"]).ok().says("CACHED");
    let built = client.build(session(&theirs), dockerfile(&[])).ok();
    assert_eq!(built.progress.ran(), Vec::<&str>::new());
    lab.say("run --rm --network=none theirs cat /id").ok();
    lab.say("prune -f").ok();
    client.build(session(&ours), dockerfile(&[])).ok();
    daemon.stop();
}

#[test]
fn builds_share_a_session_or_use_that_of_another() {
    let lab = Lab::empty();
    let daemon = Daemon::start(&lab);
    let (client, other) = (daemon.client(), daemon.client());
    let context = lab.context("FROM scratch\nCOPY a /\n", &[("a", "A"), ("b", "B")]);
    let served = client.attach(session(&context));
    let request = |name: &str| {
        let text = format!("FROM scratch\nCOPY {name} /\n");
        std::fs::write(context.join(format!("{name}.Dockerfile")), text).unwrap();
        let asked = dockerfile(&[("filename", &format!("{name}.Dockerfile"))]);
        SolveRequest { session: served.id().to_owned(), ..asked }
    };
    let (one, two) = (request("a"), request("b"));
    let (one, two) =
        client.run(async { tokio::join!(solve(client.channel.clone(), one), solve(client.channel.clone(), two)) });
    one.ok();
    two.ok();
    // A graph may name the session its files come from; the build's own has none.
    let out = lab.at("out");
    let graph = definition(vec![
        (local("context", &[("local.session", served.id())]), vec![]),
        (mkfile("/made", b"made", 0), vec![0]),
    ]);
    let request = SolveRequest { definition: Some(graph), ..driven() };
    let request = crate::build_client::with_output(request, "local", &[]);
    other.build(ClientSession::new("").with_directory(0, &out), request).ok();
    assert_eq!(std::fs::read_to_string(out.join("a")).unwrap(), "A", "{}", path(&out));
    drop(served);
    daemon.stop();
}
