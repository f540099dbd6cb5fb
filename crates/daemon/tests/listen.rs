//! Sockets from outside: who may use them, what happens to what is there already, how they end.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rbuild_buildkit_api::health::{HealthCheckRequest, ServingStatus};
use rbuild_buildkit_api::reflection::{Answer, Question, ReflectionRequest};
use rbuild_buildkit_api::services::health::health_client::HealthClient;
use rbuild_buildkit_api::services::reflection::server_reflection_client::ServerReflectionClient;
use rbuild_buildkit_api::services::traces::trace_service_client::TraceServiceClient;
use rbuild_buildkit_api::traces::ExportRequest;
use rbuild_daemon::DaemonError;
use rbuild_daemon::address::Address;
use rbuild_daemon::listen::{self, Access, Listener, Opening};
use rbuild_daemon::log::Log;
use rbuild_daemon::routes::Routes;
use rbuild_daemon::serve::serve;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

fn routes(stop: &CancellationToken) -> Routes {
    Routes::new().with_health(stop.clone()).with_reflection()
}

async fn open(path: &Path, access: Access) -> Result<Vec<Listener>, DaemonError> {
    listen::open(&[Address::Unix(path.to_owned())], Opening { access, ..Opening::default() }).await
}

async fn connect(path: &Path) -> Channel {
    rbuild_daemon::client::connect(&Address::Unix(path.to_owned())).await.expect("the daemon listens")
}

async fn ask_all(channel: Channel) {
    let health = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(health.into_inner().status(), ServingStatus::Serving);
    TraceServiceClient::new(channel.clone()).export(ExportRequest {}).await.unwrap();
    let question = ReflectionRequest { host: String::new(), question: Some(Question::ListServices(String::new())) };
    let asked = tokio_stream::once(question);
    let mut answers = ServerReflectionClient::new(channel).server_reflection_info(asked).await.unwrap().into_inner();
    let Some(Answer::Services(services)) = answers.message().await.unwrap().unwrap().answer else { panic!("a list") };
    let names: Vec<_> = services.service.into_iter().map(|service| service.name).collect();
    assert_eq!(names, ["grpc.health.v1.Health", "opentelemetry.proto.collector.trace.v1.TraceService"]);
}

#[tokio::test]
async fn a_socket_has_the_mode_that_was_asked_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    for (access, mode, directory_mode) in [(Access::default(), 0o660, 0o755), (Access::PRIVATE, 0o600, 0o700)] {
        let parent = directory.path().join(format!("{mode:o}"));
        let path = parent.join("deep").join("d.sock");
        let stop = CancellationToken::new();
        let listeners = open(&path, access).await.unwrap();
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.mode() & 0o7777, mode);
        assert_eq!(fs::metadata(&parent).unwrap().mode() & 0o777, directory_mode);
        let served = tokio::spawn(serve_quietly(listeners, stop.clone()));
        ask_all(connect(&path).await).await;
        stop.cancel();
        served.await.unwrap().unwrap();
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    }
}

async fn serve_quietly(listeners: Vec<Listener>, stop: CancellationToken) -> Result<(), DaemonError> {
    serve(listeners, routes(&stop), stop, &Log::silent()).await
}

#[tokio::test]
async fn only_a_stale_socket_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("d.sock");
    drop(UnixListener::bind(&path).unwrap());
    let first = open(&path, Access::default()).await.expect("a socket nobody listens at is replaced");
    let second = open(&path, Access::default()).await.unwrap_err().to_string();
    assert!(second.contains("another daemon listens there"), "{second}");
    drop(first);
    let foreign = UnixListener::bind(&path).unwrap();
    let refused = open(&path, Access::default()).await.unwrap_err().to_string();
    assert!(refused.contains("another daemon listens there"), "{refused}");
    drop(foreign);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    let refused = open(&path, Access::default()).await.unwrap_err().to_string();
    assert!(refused.contains("no socket"), "{refused}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn a_socket_of_another_daemon_is_not_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("d.sock");
    let listeners = open(&path, Access::default()).await.unwrap();
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(listeners);
    assert!(path.exists());
}

#[tokio::test]
async fn sockets_of_the_service_manager_are_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("d.sock");
    let inherited = || vec![OwnedFd::from(UnixListener::bind(&path).unwrap())];
    let all = Opening { inherited: inherited(), ..Opening::default() };
    let listeners = listen::open(&[Address::Inherited(None)], all).await.unwrap();
    let stop = CancellationToken::new();
    let served = tokio::spawn(serve_quietly(listeners, stop.clone()));
    ask_all(connect(&path).await).await;
    stop.cancel();
    served.await.unwrap().unwrap();
    assert!(path.exists(), "the service manager's file is its own");
    fs::remove_file(&path).unwrap();
    let file = OwnedFd::from(fs::File::create(directory.path().join("file")).unwrap());
    for (sockets, reason) in [(vec![], "no such socket was handed over"), (vec![file], "looking at a socket")] {
        let opening = Opening { inherited: sockets, ..Opening::default() };
        let error = listen::open(&[Address::Inherited(None)], opening).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_port_without_certificates_is_refused_unless_asked_for() {
    let port = [Address::Tcp { host: "127.0.0.1".to_owned(), port: 0 }];
    let error = listen::open(&port, Opening::default()).await.unwrap_err().to_string();
    assert!(error.contains("--tlscacert") && error.contains("--insecure-tcp"), "{error}");
    let asked = Opening { insecure_tcp: true, ..Opening::default() };
    let listeners = listen::open(&port, asked).await.unwrap();
    let address = listeners[0].address().replace("tcp://", "http://");
    let stop = CancellationToken::new();
    let served = tokio::spawn(serve_quietly(listeners, stop.clone()));
    ask_all(Endpoint::from_shared(address).unwrap().connect().await.unwrap()).await;
    stop.cancel();
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_name_that_is_too_long_is_told() {
    let path = Path::new("/tmp").join("x".repeat(200));
    let error = open(&path, Access::default()).await.unwrap_err().to_string();
    assert!(error.contains("107 bytes"), "{error}");
}
