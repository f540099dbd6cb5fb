//! Messages of the service of a session that judges sources.
#![allow(missing_docs, reason = "the names are the protocol's own")]
#![allow(clippy::large_enum_variant, reason = "messages are moved a few times, not kept")]

use std::collections::BTreeMap;

use rbuild_graph::pb;

#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckPolicyRequest {
    #[prost(message, optional, tag = "1")]
    pub platform: Option<pb::Platform>,
    #[prost(message, optional, tag = "2")]
    pub source: Option<crate::gateway::ResolveSourceMetaResponse>,
    #[prost(btree_map = "string, bool", tag = "3")]
    pub caps: BTreeMap<String, bool>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckPolicyResponse {
    #[prost(oneof = "CheckPolicyResponseResult", tags = "1, 2")]
    pub result: Option<CheckPolicyResponseResult>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum CheckPolicyResponseResult {
    #[prost(message, tag = "1")]
    Decision(DecisionResponse),
    #[prost(message, tag = "2")]
    Request(crate::gateway::ResolveSourceMetaRequest),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DecisionResponse {
    #[prost(enumeration = "crate::policy::PolicyAction", tag = "1")]
    pub action: i32,
    #[prost(message, repeated, tag = "2")]
    pub deny_messages: Vec<DenyMessage>,
    #[prost(message, optional, tag = "3")]
    pub update: Option<pb::SourceOp>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DenyMessage {
    #[prost(string, tag = "1")]
    pub message: String,
}
