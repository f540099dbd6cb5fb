//! Credentials of registries, from wherever the client keeps them.

use rbuild_buildkit_api::auth::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};
use rbuild_buildkit_api::services::auth::auth_server::Auth;
use rbuild_registry::Credential;
use tonic::{Request, Response, Status, async_trait};

use super::give::Give;

#[async_trait]
impl Auth for Give {
    async fn credentials(&self, request: Request<CredentialsRequest>) -> Result<Response<CredentialsResponse>, Status> {
        let store = self.0.credentials.clone();
        let store = store.ok_or_else(|| Status::unimplemented("there are no credentials"))?;
        let host = request.into_inner().host;
        let registry = if host == "registry-1.docker.io" { "docker.io".to_owned() } else { host };
        let found = tokio::task::spawn_blocking(move || store.get(&registry)).await;
        let found = found.map_err(|error| Status::internal(error.to_string()))?;
        let (username, secret) = match found.map_err(|error| Status::unknown(error.to_string()))? {
            None => (String::new(), String::new()),
            Some(Credential::Basic { username, password }) => (username, password),
            Some(Credential::Identity(token) | Credential::Registry(token)) => (String::new(), token),
        };
        Ok(Response::new(CredentialsResponse { username, secret }))
    }

    async fn fetch_token(&self, _: Request<FetchTokenRequest>) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("this client fetches no tokens"))
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("this client fetches no tokens"))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("this client fetches no tokens"))
    }
}
