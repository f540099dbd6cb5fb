//! A client as buildctl is one: a session that is served, a build that is asked for, its progress followed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rbuild_buildkit_api::control::{Exporter, SolveRequest, StatusRequest};
use rbuild_buildkit_api::gateway::ReturnRequest;
use rbuild_buildkit_api::services::bridge::l_l_b_bridge_client::LLBBridgeClient;
use rbuild_buildkit_api::services::control::control_client::ControlClient;
use rbuild_session::client::{ClientSession, ServedSession};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::built::{Built, Progress};

/// How long one call may take before the test gives it up.
const PATIENCE: Duration = Duration::from_secs(60);
/// The largest answer that is taken.
const LARGEST: usize = 16 << 20;

/// What a client's frontend asks of the daemon.
pub(crate) type Bridge = LLBBridgeClient<InterceptedService<Channel, BuildId>>;

/// Names in each call the build that it belongs to.
#[derive(Clone)]
pub(crate) struct BuildId(AsciiMetadataValue);

impl Interceptor for BuildId {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("buildkit-controlapi-buildid", self.0.clone());
        Ok(request)
    }
}

/// A connection to a daemon. When it is dropped, the client is gone.
pub(crate) struct Client {
    pub(crate) channel: Channel,
    // The last to be dropped: the connection lives in it.
    runtime: Runtime,
}

impl Client {
    pub(crate) fn connect(socket: &Path) -> Self {
        let socket = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let socket: PathBuf = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://localhost").http2_max_header_list_size(16 << 20);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let channel = runtime.block_on(endpoint.connect_with_connector(connector)).expect("the daemon listens");
        Self { channel, runtime }
    }

    /// Does something with the daemon to its end.
    #[track_caller]
    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let done = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await });
        done.expect("the daemon answers")
    }

    /// Starts what goes on while the test does other things.
    pub(crate) fn start<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(work)
    }

    pub(crate) fn control(&self) -> ControlClient<Channel> {
        control(self.channel.clone())
    }

    pub(crate) fn bridge(&self, build: &str) -> Bridge {
        bridge(self.channel.clone(), build)
    }

    /// Opens a session, which is served until what is returned is dropped.
    pub(crate) fn attach(&self, session: ClientSession) -> ServedSession {
        self.run(session.attach(self.channel.clone())).expect("the daemon takes sessions")
    }

    /// Builds what a request says, and follows it.
    pub(crate) fn solve(&self, request: SolveRequest) -> Built {
        self.run(solve(self.channel.clone(), request))
    }

    /// Builds, with a session for this build.
    pub(crate) fn build(&self, session: ClientSession, request: SolveRequest) -> Built {
        let session = self.attach(session);
        self.solve(SolveRequest { session: session.id().to_owned(), ..request })
    }

    /// Asks for a build that the daemon refuses before it begins, so that there is nothing to follow.
    pub(crate) fn refused(&self, request: SolveRequest) -> Status {
        let mut control = self.control();
        self.run(control.solve(request)).expect_err("the build is refused")
    }

    /// Builds what a frontend in this process says.
    pub(crate) fn drive<F, A>(&self, request: SolveRequest, frontend: F) -> Built
    where
        F: FnOnce(Bridge) -> A,
        A: Future<Output = Result<ReturnRequest, Status>>,
    {
        let bridge = self.bridge(&request.r#ref);
        let mut answers = bridge.clone();
        let driven = async {
            let returned = match frontend(bridge).await {
                Ok(returned) => returned,
                Err(status) => ReturnRequest { result: None, error: Some(error_of(&status)) },
            };
            answers.r#return(returned).await.map(|_| ())
        };
        let (built, returned) = self.run(async { tokio::join!(solve(self.channel.clone(), request), driven) });
        returned.expect("the daemon takes what the frontend returns");
        built
    }
}

fn control(channel: Channel) -> ControlClient<Channel> {
    ControlClient::new(channel).max_decoding_message_size(LARGEST).max_encoding_message_size(LARGEST)
}

pub(crate) fn bridge(channel: Channel, build: &str) -> Bridge {
    let build = BuildId(build.parse().expect("names of builds are ASCII"));
    LLBBridgeClient::with_interceptor(channel, build)
        .max_decoding_message_size(LARGEST)
        .max_encoding_message_size(LARGEST)
}

/// Asks for a build and follows its progress until both end.
pub(crate) async fn solve(channel: Channel, request: SolveRequest) -> Built {
    let (mut solving, mut following) = (control(channel.clone()), control(channel));
    let asked = StatusRequest { r#ref: request.r#ref.clone() };
    let is_remembered = !request.internal;
    let follow = async move {
        let mut progress = Progress::default();
        // Of what is not remembered nothing can be heard when it has ended.
        if is_remembered {
            let mut messages = following.status(asked).await?.into_inner();
            while let Some(message) = messages.message().await? {
                progress.add(message);
            }
        }
        Ok::<_, Status>(progress)
    };
    let (solved, progress) = tokio::join!(solving.solve(request), follow);
    let result = solved.map(|response| response.into_inner().exporter_response);
    Built { result, progress: progress.expect("the progress can be followed") }
}

/// Returns what a frontend says when it fails as the daemon did.
fn error_of(status: &Status) -> rbuild_buildkit_api::rpc::Status {
    let details = prost::Message::decode(status.details()).unwrap_or_default();
    rbuild_buildkit_api::rpc::Status { code: status.code() as i32, message: status.message().to_owned(), ..details }
}

/// Returns a name that no other build has.
pub(crate) fn build_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("build-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn attributes(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Asks for a build that a frontend of the client drives.
pub(crate) fn driven() -> SolveRequest {
    SolveRequest { r#ref: build_name(), ..SolveRequest::default() }
}

/// Asks for the build of a Dockerfile, with base images of the daemon's store.
pub(crate) fn dockerfile(more: &[(&str, &str)]) -> SolveRequest {
    let mut frontend_attrs = attributes(&[("image-resolve-mode", "local")]);
    frontend_attrs.extend(attributes(more));
    SolveRequest { frontend: "dockerfile.v0".to_owned(), frontend_attrs, ..driven() }
}

/// Adds an output to what is asked for.
pub(crate) fn with_output(mut request: SolveRequest, kind: &str, list: &[(&str, &str)]) -> SolveRequest {
    request.exporters.push(Exporter { r#type: kind.to_owned(), attrs: attributes(list) });
    request
}

/// Returns a session that offers a context, its Dockerfile included.
pub(crate) fn session(context: &Path) -> ClientSession {
    ClientSession::new("").with_local("context", context).with_local("dockerfile", context)
}

/// Lets the output of a number go to a file.
pub(crate) fn into_file(session: ClientSession, number: usize, file: &Path) -> ClientSession {
    let file = file.to_owned();
    session.with_file(
        number,
        Box::new(move |_| {
            let file = std::fs::File::create(&file)?;
            Ok(Some(Box::new(file) as Box<dyn std::io::Write + Send>))
        }),
    )
}
