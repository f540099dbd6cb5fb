//! Who may do what: rights beyond the sandbox, sockets, ports with certificates.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rbuild_buildkit_api::control::{ListWorkersRequest, SolveRequest};
use rbuild_buildkit_api::services::control::control_client::ControlClient;
use rbuild_graph::pb;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::build_client::{Client, dockerfile, driven, session};
use crate::daemon::Daemon;
use crate::graphs::{definition, exec, image};
use crate::lab::{Lab, is_root, path, skip};

fn entitled(request: SolveRequest, rights: &[&str]) -> SolveRequest {
    SolveRequest { entitlements: rights.iter().map(|right| (*right).to_owned()).collect(), ..request }
}

/// A graph with a step that sees the host's network.
fn on_host_network() -> SolveRequest {
    let step = pb::ExecOp { network: pb::NetMode::Host.into(), ..exec(&["true"]) };
    let graph = definition(vec![(image("busybox"), vec![]), (pb::Kind::Exec(step), vec![0])]);
    SolveRequest { definition: Some(graph), ..driven() }
}

#[test]
fn rights_need_the_yes_of_daemon_and_client() {
    let lab = Lab::new();
    let context = lab.context("FROM busybox\nRUN --network=host true\n", &[]);
    let insecure = lab.context("FROM busybox\nRUN --security=insecure true\n", &[]);
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    for right in ["network.host", "security.insecure"] {
        let status = client.refused(entitled(dockerfile(&[]), &[right]));
        assert!(status.message().contains("is not allowed by build daemon configuration"), "{status:?}");
    }
    let status = client.refused(entitled(dockerfile(&[]), &["sideways"]));
    assert!(status.message().contains("sideways"), "{status:?}");
    client.build(session(&context), dockerfile(&[])).fails("network.host");
    client.build(session(&insecure), dockerfile(&[])).fails("security.insecure");
    client.solve(on_host_network()).fails("network.host");
    drop(client);
    daemon.stop();
    let daemon = Daemon::with(&lab, &["--allow-insecure-entitlement", "network.host"]);
    let client = daemon.client();
    // The daemon would let it, but the client has not said so.
    client.build(session(&context), dockerfile(&[])).fails("network.host");
    client.solve(on_host_network()).fails("network.host");
    client.build(session(&context), entitled(dockerfile(&[]), &["network.host"])).ok();
    client.solve(entitled(on_host_network(), &["network.host"])).ok();
    client.build(session(&insecure), entitled(dockerfile(&[]), &["network.host"])).fails("security.insecure");
    daemon.stop();
}

#[test]
fn sockets_are_closed_to_others() {
    let lab = Lab::empty();
    let daemon = Daemon::start(&lab);
    let mode = std::fs::metadata(lab.at("d.sock")).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, if is_root() { 0o660 } else { 0o600 });
    let again = lab.rbuild(["serve", "--addr", &daemon.address()]).exits(1);
    assert!(again.stderr.contains("d.sock"), "{again:?}");
    // Who came second has not taken the place of the first.
    daemon.client();
    daemon.stop();
    std::fs::write(lab.at("d.sock"), "precious").unwrap();
    lab.rbuild(["serve", "--addr", &format!("unix://{}", path(&lab.at("d.sock")))]).exits(1);
    assert_eq!(std::fs::read_to_string(lab.at("d.sock")).unwrap(), "precious");
    lab.rbuild(["serve", "--addr", "tcp://127.0.0.1:0"]).exits(1).says("--insecure-tcp");
}

/// Makes an authority, certificates of a server and a client, and one that nobody vouches for.
const CERTIFICATES: &str = "
set -e
key='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
openssl req -x509 $key -days 2 -subj /CN=authority -keyout ca.key -out ca.pem
printf 'subjectAltName=DNS:localhost\\nbasicConstraints=CA:FALSE\\n' > server.ext
printf 'extendedKeyUsage=clientAuth\\nbasicConstraints=CA:FALSE\\n' > client.ext
for name in server client; do
    openssl req $key -subj /CN=$name -keyout $name.key -out $name.csr
    openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile $name.ext -out $name.pem
done
openssl req -x509 $key -days 2 -subj /CN=stranger -keyout stranger.key -out stranger.pem";

fn certificates(lab: &Lab) -> bool {
    let mut command = lab.command("sh");
    command.args(["-c", CERTIFICATES]).stdout(Stdio::null()).stderr(Stdio::null());
    let made = command.status().is_ok_and(|status| status.success());
    if !made {
        skip("no certificates without openssl");
    }
    made
}

/// Asks for the workers, showing the certificate of `name`.
fn ask(client: &Client, home: &Path, port: &str, name: Option<&str>) -> Result<usize, String> {
    let pem = |name: &str| std::fs::read(home.join(name)).unwrap();
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem("ca.pem"))).domain_name("localhost");
    if let Some(name) = name {
        tls = tls.identity(Identity::from_pem(pem(&format!("{name}.pem")), pem(&format!("{name}.key"))));
    }
    let endpoint = Endpoint::from_shared(format!("https://{port}")).unwrap().tls_config(tls).unwrap();
    client.run(async move {
        let channel = endpoint.connect().await.map_err(|error| format!("{error:?}"))?;
        let listed = ControlClient::new(channel).list_workers(ListWorkersRequest::default()).await;
        listed.map(|workers| workers.into_inner().record.len()).map_err(|status| format!("{status:?}"))
    })
}

#[test]
fn ports_ask_for_certificates() {
    let lab = Lab::empty();
    if !certificates(&lab) {
        return;
    }
    let files = ["server.pem", "server.key", "ca.pem"].map(|name| path(&lab.at(name)));
    let daemon = Daemon::with(
        &lab,
        &["--addr", "tcp://127.0.0.1:0", "--tlscert", &files[0], "--tlskey", &files[1], "--tlscacert", &files[2]],
    );
    crate::lab::until("the port is told", || daemon.log().contains("listening at tcp://"));
    let log = daemon.log();
    let port = log.split("listening at tcp://").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
    let client = daemon.client();
    assert_eq!(ask(&client, lab.path(), port, Some("client")), Ok(1));
    ask(&client, lab.path(), port, None).expect_err("no certificate");
    ask(&client, lab.path(), port, Some("stranger")).expect_err("nobody vouches for it");
    assert_eq!(ask(&client, lab.path(), port, Some("client")), Ok(1), "the others do not disturb");
    daemon.stop();
}

#[test]
fn a_command_of_buildkits_daemon_starts_ours() {
    let lab = Lab::new();
    let program = lab.at("buildkitd");
    std::os::unix::fs::symlink(crate::lab::binary(), &program).unwrap();
    let mut command: Command = lab.command(&program);
    crate::lab::run(command.args(["--sideways"]), b"").exits(2).says("--sideways");
    let mut command: Command = lab.command(&program);
    crate::lab::run(command.args(["--addr", "sideways://"]), b"").exits(2).says("sideways");
}
