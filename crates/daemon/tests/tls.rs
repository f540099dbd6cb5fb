//! Ports behind certificates: who shows a right one is served, and nobody else.

#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rbuild_buildkit_api::health::HealthCheckRequest;
use rbuild_buildkit_api::services::health::health_client::HealthClient;
use rbuild_daemon::address::Address;
use rbuild_daemon::listen::{self, Opening, TlsFiles};
use rbuild_daemon::log::Log;
use rbuild_daemon::routes::Routes;
use rbuild_daemon::serve::serve;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

/// Makes an authority, certificates of a server and a client, and one that nobody vouches for.
const MAKE: &str = "
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

fn certificates(home: &Path) -> bool {
    let mut make = Command::new("sh");
    make.arg("-c").arg(MAKE).current_dir(home).stdout(Stdio::null()).stderr(Stdio::null());
    let made = make.status().is_ok_and(|status| status.success());
    if !made {
        eprintln!("skipped: no certificates without openssl");
    }
    made
}

fn files(home: &Path, authority: bool) -> TlsFiles {
    let authority = authority.then(|| home.join("ca.pem"));
    TlsFiles { certificate: home.join("server.pem"), key: home.join("server.key"), authority }
}

/// Asks over a port whether the daemon is well, showing the certificate of `name`.
async fn ask(home: &Path, port: &str, name: Option<&str>) -> Result<(), String> {
    let pem = |name: &str| fs::read(home.join(name)).unwrap();
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem("ca.pem"))).domain_name("localhost");
    if let Some(name) = name {
        tls = tls.identity(Identity::from_pem(pem(&format!("{name}.pem")), pem(&format!("{name}.key"))));
    }
    let endpoint = Endpoint::from_shared(format!("https://{port}")).unwrap().tls_config(tls).unwrap();
    let channel = endpoint.connect().await.map_err(|error| format!("{error:?}"))?;
    let asked = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    asked.map(|_| ()).map_err(|status| format!("{status:?}"))
}

#[tokio::test]
async fn certificates_are_asked_of_both_sides() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    if !certificates(home) {
        return;
    }
    let port = [Address::Tcp { host: "127.0.0.1".to_owned(), port: 0 }];
    let opening = Opening { tls: Some(files(home, true)), ..Opening::default() };
    let listeners = listen::open(&port, opening).await.unwrap();
    let address = listeners[0].address().trim_start_matches("tcp://").to_owned();
    let stop = CancellationToken::new();
    let routes = Routes::new().with_health(stop.clone());
    let token = stop.clone();
    let served = tokio::spawn(async move { serve(listeners, routes, token, &Log::silent()).await });
    ask(home, &address, Some("client")).await.unwrap();
    assert!(ask(home, &address, None).await.is_err(), "no certificate");
    assert!(ask(home, &address, Some("stranger")).await.is_err(), "nobody vouches for it");
    let plain = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    assert!(HealthClient::new(plain).check(HealthCheckRequest::default()).await.is_err(), "no TLS at all");
    ask(home, &address, Some("client")).await.expect("others do not disturb");
    stop.cancel();
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn files_of_no_use_are_told_at_the_start() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    if !certificates(home) {
        return;
    }
    let port = [Address::Tcp { host: "127.0.0.1".to_owned(), port: 0 }];
    fs::write(home.join("text"), "hello").unwrap();
    let good = files(home, true);
    for (tls, reason) in [
        (TlsFiles { certificate: home.join("none"), ..good.clone() }, "No such file"),
        (TlsFiles { certificate: home.join("text"), ..good.clone() }, "not in PEM form"),
        (TlsFiles { key: home.join("client.key"), ..good.clone() }, "server.pem"),
        (TlsFiles { authority: Some(home.into()), ..good.clone() }, "not a regular file"),
    ] {
        let opening = Opening { tls: Some(tls), ..Opening::default() };
        let error = listen::open(&port, opening).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let without = Opening { tls: Some(files(home, false)), ..Opening::default() };
    let error = listen::open(&port, without).await.unwrap_err().to_string();
    assert!(error.contains("give --tlscacert, or say"), "{error}");
}
