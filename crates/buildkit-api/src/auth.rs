//! Messages of the service of a session that knows credentials of registries.
#![allow(missing_docs, reason = "the names are the protocol's own")]

use bytes::Bytes;

#[derive(Clone, PartialEq, prost::Message)]
pub struct CredentialsRequest {
    #[prost(string, tag = "1")]
    pub host: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CredentialsResponse {
    #[prost(string, tag = "1")]
    pub username: String,
    #[prost(string, tag = "2")]
    pub secret: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct FetchTokenRequest {
    #[prost(string, tag = "1")]
    pub client_id: String,
    #[prost(string, tag = "2")]
    pub host: String,
    #[prost(string, tag = "3")]
    pub realm: String,
    #[prost(string, tag = "4")]
    pub service: String,
    #[prost(string, repeated, tag = "5")]
    pub scopes: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct FetchTokenResponse {
    #[prost(string, tag = "1")]
    pub token: String,
    #[prost(int64, tag = "2")]
    pub expires_in: i64,
    #[prost(int64, tag = "3")]
    pub issued_at: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GetTokenAuthorityRequest {
    #[prost(string, tag = "1")]
    pub host: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub salt: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GetTokenAuthorityResponse {
    #[prost(bytes = "bytes", tag = "1")]
    pub public_key: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct VerifyTokenAuthorityRequest {
    #[prost(string, tag = "1")]
    pub host: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub payload: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub salt: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct VerifyTokenAuthorityResponse {
    #[prost(bytes = "bytes", tag = "1")]
    pub signed: Bytes,
}
