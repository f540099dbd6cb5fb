//! Clients that decide only after the build where its result goes.

use std::collections::BTreeMap;

use rbuild_buildkit_api::exporter::{ExporterRequest, FinalizeExportRequest, FindExportersRequest};
use rbuild_buildkit_api::services::exporter::exporter_client::ExporterClient;

use crate::error::SessionError;
use crate::session::{MOST_MESSAGE_BYTES, Session};

/// The method by which a client names exporters.
pub(crate) const FIND: &str = "/moby.exporter.v1.Exporter/FindExporters";
/// The method by which a client is told of the end.
pub(crate) const FINALIZE: &str = "/moby.exporter.v1.Exporter/FinalizeExport";

impl Session {
    /// Returns the exporters that the client wants for a result; none if it does not decide such things.
    ///
    /// # Errors
    /// If the client fails.
    pub async fn find_exporters(
        &self,
        metadata: BTreeMap<String, Vec<u8>>,
        refs: Vec<String>,
    ) -> Result<Vec<ExporterRequest>, SessionError> {
        if !self.supports(FIND) {
            return Ok(Vec::new());
        }
        let mut client = ExporterClient::new(self.channel())
            .max_decoding_message_size(MOST_MESSAGE_BYTES)
            .max_encoding_message_size(MOST_MESSAGE_BYTES);
        let answer = self.wait(async {
            let answer = client.find_exporters(FindExportersRequest { metadata, refs }).await;
            answer.map_err(SessionError::call("asking the client for exporters"))
        });
        Ok(answer.await?.into_inner().exporters)
    }

    /// Tells the client what became of its exporters.
    ///
    /// # Errors
    /// If the client fails.
    pub async fn finalize_export(&self, exporter_response: BTreeMap<String, String>) -> Result<(), SessionError> {
        if !self.supports(FINALIZE) {
            return Ok(());
        }
        let mut client = ExporterClient::new(self.channel());
        let answer = self.wait(async {
            let answer = client.finalize_export(FinalizeExportRequest { exporter_response }).await;
            answer.map_err(SessionError::call("telling the client of its export"))
        });
        answer.await.map(|_| ())
    }
}
