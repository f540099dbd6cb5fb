//! Takes the traces that clients send at their end, and drops them.

use rbuild_buildkit_api::services::traces::trace_service_server::TraceService;
use rbuild_buildkit_api::traces::{ExportRequest, ExportResponse};
use tonic::{Request, Response, Status};

/// Accepts all spans; nothing is kept of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceSink;

#[tonic::async_trait]
impl TraceService for TraceSink {
    async fn export(&self, _: Request<ExportRequest>) -> Result<Response<ExportResponse>, Status> {
        Ok(Response::new(ExportResponse {}))
    }
}
