//! Secrets of a client.

use std::sync::Arc;

use rbuild_buildkit_api::secrets::GetSecretRequest;
use rbuild_buildkit_api::services::secrets::secrets_client::SecretsClient;

use crate::error::SessionError;
use crate::session::Session;

/// The method by which a client gives secrets.
pub(crate) const METHOD: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
/// The largest secret, and some room for the message around it.
const MOST_BYTES: usize = (500 << 10) + 1024;

impl Session {
    /// Returns the secret with this id; none if the client has none.
    ///
    /// # Errors
    /// If the client fails.
    pub async fn secret(self: &Arc<Self>, id: &str) -> Result<Option<Vec<u8>>, SessionError> {
        let mut client = SecretsClient::new(self.channel()).max_decoding_message_size(MOST_BYTES);
        let request = GetSecretRequest { id: id.to_owned(), ..GetSecretRequest::default() };
        let answer = self.wait(async {
            let answer = client.get_secret(request).await;
            answer.map_err(SessionError::call(format!("getting secret {id} from the client")))
        });
        match answer.await {
            Ok(answer) => Ok(Some(answer.into_inner().data.to_vec())),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
