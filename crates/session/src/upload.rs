//! Archives that a client offers under an address of its own, such as what came by its standard input.

use std::io::Read;
use std::sync::Arc;

use rbuild_buildkit_api::upload::BytesMessage;
use tonic::metadata::MetadataMap;

use crate::call;
use crate::error::SessionError;
use crate::headers;
use crate::read::ClientReader;
use crate::session::{MOST_MESSAGE_BYTES, Session};

/// The method by which a client gives archives.
pub(crate) const METHOD: &str = "/moby.upload.v1.Upload/Pull";
/// The headers that say which.
pub(crate) mod header {
    pub(crate) const PATH: &str = "urlpath";
    pub(crate) const HOST: &str = "urlhost";
}

impl Session {
    /// Returns the bytes that the client offers under a path; none if it offers nothing there. Reading blocks.
    ///
    /// # Errors
    /// If the client fails.
    pub async fn upload(
        self: &Arc<Self>,
        host: &str,
        path: &str,
    ) -> Result<Option<Box<dyn Read + Send>>, SessionError> {
        let mut map = MetadataMap::new();
        headers::append(&mut map, header::PATH, &[path.to_owned()]);
        headers::append(&mut map, header::HOST, &[host.to_owned()]);
        let nothing = tokio_stream::pending::<BytesMessage>();
        let answer = self.wait(async {
            let answer = call::streaming::<_, BytesMessage>(self, METHOD, map, nothing, MOST_MESSAGE_BYTES);
            answer.await.map_err(SessionError::call(format!("loading `{path}` from the client")))
        });
        match answer.await {
            Ok(messages) => Ok(Some(Box::new(ClientReader::new(self.clone(), messages)))),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
