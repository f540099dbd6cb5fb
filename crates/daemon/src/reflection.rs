//! Tells which services there are. Descriptions of their messages are not kept, and asking for one says so.

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use rbuild_buildkit_api::reflection::{
    Answer, ErrorResponse, ListServicesResponse, Question, ReflectionRequest, ReflectionResponse, ServiceResponse,
};
use rbuild_buildkit_api::services::{reflection, reflection_alpha};
use tonic::{Code, Request, Response, Status, Streaming};

/// Answers in both versions of the protocol.
#[derive(Debug, Clone)]
pub struct ReflectionService {
    names: Arc<[String]>,
}

type Answers = BoxStream<'static, Result<ReflectionResponse, Status>>;

impl ReflectionService {
    /// Answers with the names of services.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self { names: names.into_iter().collect() }
    }

    fn answers(&self, questions: Streaming<ReflectionRequest>) -> Answers {
        let names = Arc::clone(&self.names);
        questions.map(move |question| question.map(|question| answer(&names, question))).boxed()
    }
}

fn answer(names: &[String], request: ReflectionRequest) -> ReflectionResponse {
    let answer = match &request.question {
        Some(Question::ListServices(_)) => {
            let service = names.iter().map(|name| ServiceResponse { name: name.clone() }).collect();
            Answer::Services(ListServicesResponse { service })
        }
        Some(_) => refused(Code::NotFound, "this daemon tells the names of its services only"),
        None => refused(Code::InvalidArgument, "the request asks nothing"),
    };
    ReflectionResponse { valid_host: request.host.clone(), original_request: Some(request), answer: Some(answer) }
}

fn refused(code: Code, reason: &str) -> Answer {
    Answer::Error(ErrorResponse { error_code: code.into(), error_message: reason.to_owned() })
}

#[tonic::async_trait]
impl reflection::server_reflection_server::ServerReflection for ReflectionService {
    type ServerReflectionInfoStream = Answers;

    async fn server_reflection_info(
        &self,
        request: Request<Streaming<ReflectionRequest>>,
    ) -> Result<Response<Answers>, Status> {
        Ok(Response::new(self.answers(request.into_inner())))
    }
}

#[tonic::async_trait]
impl reflection_alpha::server_reflection_server::ServerReflection for ReflectionService {
    type ServerReflectionInfoStream = Answers;

    async fn server_reflection_info(
        &self,
        request: Request<Streaming<ReflectionRequest>>,
    ) -> Result<Response<Answers>, Status> {
        Ok(Response::new(self.answers(request.into_inner())))
    }
}
