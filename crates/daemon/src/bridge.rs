//! The bridge: what a frontend asks of us while it builds, one call for each question.
//!
//! Calls name their build in the request's metadata; the build may be about to begin.

pub(crate) mod container;
mod files;
pub(crate) mod source;

use std::sync::Arc;

use rbuild_buildkit_api::gateway::{
    EvaluateRequest, EvaluateResponse, ExecMessage, InputsRequest, InputsResponse, NewContainerRequest,
    NewContainerResponse, PingRequest, PongResponse, ReadDirRequest, ReadDirResponse, ReadFileRequest,
    ReadFileResponse, ReleaseContainerRequest, ReleaseContainerResponse, ResolveImageConfigRequest,
    ResolveImageConfigResponse, ResolveSourceMetaRequest, ResolveSourceMetaResponse, ResultResult, ReturnRequest,
    ReturnResponse, SolveRequest, SolveResponse, StatFileRequest, StatFileResponse, WarnRequest, WarnResponse,
};
use rbuild_buildkit_api::services::bridge::l_l_b_bridge_server::LLBBridge;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::build::Build;
use crate::capability;
use crate::engine::Engine;
use crate::fault::Fault;
use crate::outcome::Refs;
use crate::solve::Asked;
use crate::wire;

/// The metadata that names the build a call belongs to.
const BUILD: &str = "buildkit-controlapi-buildid";

/// How many messages of processes wait for a frontend.
const MESSAGES: usize = 16;

/// Answers frontends: those that run in clients, or one that is an image.
pub(crate) struct Bridge {
    engine: Arc<Engine>,
    /// The build that all calls belong to, if calls need not say so.
    bound: Option<Arc<Build>>,
}

impl Bridge {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, bound: None }
    }

    /// Returns the bridge of a frontend that knows no other build.
    pub(crate) fn bound(engine: Arc<Engine>, build: Arc<Build>) -> Self {
        Self { engine, bound: Some(build) }
    }

    async fn build<T>(&self, request: &Request<T>) -> Result<Arc<Build>, Fault> {
        if let Some(build) = &self.bound {
            return Ok(build.clone());
        }
        let id = request.metadata().get(BUILD).and_then(|id| id.to_str().ok()).unwrap_or_default();
        if id.is_empty() {
            return Err(Fault::new("no buildid found in context"));
        }
        let found = self.engine.builds().wait(id, |build| build.begun().is_driven).await;
        found.ok_or_else(|| Fault::with_code(Code::NotFound, format!("no such job {id}")))
    }
}

fn missing(what: &str) -> Fault {
    Fault::with_code(Code::InvalidArgument, format!("{what} is required"))
}

#[tonic::async_trait]
impl LLBBridge for Bridge {
    async fn resolve_image_config(
        &self,
        request: Request<ResolveImageConfigRequest>,
    ) -> Result<Response<ResolveImageConfigResponse>, Status> {
        let build = self.build(&request).await?;
        let answer = source::image_config(&build, request.into_inner());
        Ok(Response::new(build.unless_canceled(answer).await?))
    }

    async fn resolve_source_meta(
        &self,
        request: Request<ResolveSourceMetaRequest>,
    ) -> Result<Response<ResolveSourceMetaResponse>, Status> {
        let build = self.build(&request).await?;
        let answer = source::metadata(&build, request.into_inner());
        Ok(Response::new(build.unless_canceled(answer).await?))
    }

    async fn solve(&self, request: Request<SolveRequest>) -> Result<Response<SolveResponse>, Status> {
        let build = self.build(&request).await?;
        let asked = request.into_inner();
        let (with_definitions, is_old) = (asked.allow_result_array_ref, !asked.allow_result_return);
        if asked.r#final {
            return Err(Fault::new("final results are returned by Return").into());
        }
        let evaluate = asked.evaluate;
        let outcome = self.engine.solve(&build, build.scope(), Asked::of_frontend(asked)?).await?;
        if evaluate {
            build.make(outcome.results()).await?;
        }
        build.scope().publish(&outcome.results());
        if is_old && matches!(outcome.refs, Refs::Many(_)) {
            return Err(Fault::new("solve did not return default result").into());
        }
        let result = wire::to_message(&build, &outcome, with_definitions)?;
        let r#ref = match (&result.result, is_old) {
            (Some(ResultResult::RefDeprecated(id)), true) => id.clone(),
            (Some(ResultResult::Ref(named)), true) => named.id.clone(),
            _ => String::new(),
        };
        Ok(Response::new(SolveResponse { r#ref, result: Some(result) }))
    }

    async fn read_file(&self, request: Request<ReadFileRequest>) -> Result<Response<ReadFileResponse>, Status> {
        let build = self.build(&request).await?;
        Ok(Response::new(files::read(&build, request.into_inner()).await?))
    }

    async fn read_dir(&self, request: Request<ReadDirRequest>) -> Result<Response<ReadDirResponse>, Status> {
        let build = self.build(&request).await?;
        Ok(Response::new(files::list(&build, request.into_inner()).await?))
    }

    async fn stat_file(&self, request: Request<StatFileRequest>) -> Result<Response<StatFileResponse>, Status> {
        let build = self.build(&request).await?;
        Ok(Response::new(files::stat(&build, request.into_inner()).await?))
    }

    async fn evaluate(&self, request: Request<EvaluateRequest>) -> Result<Response<EvaluateResponse>, Status> {
        let build = self.build(&request).await?;
        if let Some(lazy) = build.result(&request.into_inner().r#ref)? {
            build.solve(&lazy).await?;
        }
        Ok(Response::new(EvaluateResponse {}))
    }

    async fn ping(&self, request: Request<PingRequest>) -> Result<Response<PongResponse>, Status> {
        self.build(&request).await?;
        Ok(Response::new(PongResponse {
            frontend_api_caps: capability::frontend(),
            llb_caps: capability::llb(),
            workers: self.engine.workers(&[])?,
        }))
    }

    async fn r#return(&self, request: Request<ReturnRequest>) -> Result<Response<ReturnResponse>, Status> {
        let build = self.build(&request).await?;
        let returned = request.into_inner();
        let outcome = match (returned.error, returned.result) {
            (Some(error), _) => Err(Fault::from_rpc(error)),
            (None, Some(result)) => Ok(wire::from_message(&build, result)?),
            (None, None) => return Err(missing("a result or an error").into()),
        };
        build.take(outcome);
        Ok(Response::new(ReturnResponse {}))
    }

    async fn inputs(&self, request: Request<InputsRequest>) -> Result<Response<InputsResponse>, Status> {
        let build = self.build(&request).await?;
        let inputs = build.inputs().iter();
        let definitions = inputs.map(|(name, definition)| (name.clone(), wire::plain(definition.clone()))).collect();
        Ok(Response::new(InputsResponse { definitions }))
    }

    async fn new_container(
        &self,
        request: Request<NewContainerRequest>,
    ) -> Result<Response<NewContainerResponse>, Status> {
        let build = self.build(&request).await?;
        container::create(&build, request.into_inner()).await?;
        Ok(Response::new(NewContainerResponse {}))
    }

    async fn release_container(
        &self,
        request: Request<ReleaseContainerRequest>,
    ) -> Result<Response<ReleaseContainerResponse>, Status> {
        let build = self.build(&request).await?;
        container::release(&build, &request.into_inner().container_id).await?;
        Ok(Response::new(ReleaseContainerResponse {}))
    }

    type ExecProcessStream = ReceiverStream<Result<ExecMessage, Status>>;

    async fn exec_process(
        &self,
        request: Request<Streaming<ExecMessage>>,
    ) -> Result<Response<Self::ExecProcessStream>, Status> {
        let build = self.build(&request).await?;
        let (sender, answers) = mpsc::channel(MESSAGES);
        tokio::spawn(container::serve(build, request.into_inner(), sender));
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn read_file_container(
        &self,
        request: Request<ReadFileRequest>,
    ) -> Result<Response<ReadFileResponse>, Status> {
        let build = self.build(&request).await?;
        Ok(Response::new(container::read(&build, request.into_inner()).await?))
    }

    async fn read_dir_container(&self, request: Request<ReadDirRequest>) -> Result<Response<ReadDirResponse>, Status> {
        let build = self.build(&request).await?;
        Ok(Response::new(container::list(&build, request.into_inner()).await?))
    }

    async fn stat_file_container(
        &self,
        request: Request<StatFileRequest>,
    ) -> Result<Response<StatFileResponse>, Status> {
        let build = self.build(&request).await?;
        Ok(Response::new(container::stat(&build, request.into_inner()).await?))
    }

    async fn warn(&self, request: Request<WarnRequest>) -> Result<Response<WarnResponse>, Status> {
        let build = self.build(&request).await?;
        let told = request.into_inner();
        let has_room = build.feed().warn(rbuild_buildkit_api::control::VertexWarning {
            vertex: told.digest,
            level: told.level,
            short: told.short,
            detail: told.detail,
            url: told.url,
            info: told.info,
            ranges: told.ranges,
        });
        if !has_room {
            return Err(Status::resource_exhausted("too many warnings for one build"));
        }
        Ok(Response::new(WarnResponse {}))
    }
}
