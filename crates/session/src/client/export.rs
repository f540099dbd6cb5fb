//! Where results go, decided when they are there.

use rbuild_buildkit_api::exporter::{
    FinalizeExportRequest, FinalizeExportResponse, FindExportersRequest, FindExportersResponse,
};
use rbuild_buildkit_api::services::exporter::exporter_server::Exporter;
use tonic::{Request, Response, Status, async_trait};

use super::give::Give;

#[async_trait]
impl Exporter for Give {
    async fn find_exporters(
        &self,
        request: Request<FindExportersRequest>,
    ) -> Result<Response<FindExportersResponse>, Status> {
        let choose = self.0.exporters.as_ref();
        let choose = choose.ok_or_else(|| Status::unimplemented("this client chooses no exporters"))?;
        Ok(Response::new(FindExportersResponse { exporters: choose(&request.into_inner().metadata) }))
    }

    async fn finalize_export(
        &self,
        _: Request<FinalizeExportRequest>,
    ) -> Result<Response<FinalizeExportResponse>, Status> {
        Ok(Response::new(FinalizeExportResponse {}))
    }
}
