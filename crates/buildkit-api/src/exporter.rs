//! Messages of the service of a session that decides where results go.
#![allow(missing_docs, reason = "the names are the protocol's own")]

use std::collections::BTreeMap;

#[derive(Clone, PartialEq, prost::Message)]
pub struct FindExportersRequest {
    #[prost(btree_map = "string, bytes", tag = "1")]
    pub metadata: BTreeMap<String, Vec<u8>>,
    #[prost(string, repeated, tag = "2")]
    pub refs: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct FindExportersResponse {
    #[prost(message, repeated, tag = "1")]
    pub exporters: Vec<ExporterRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ExporterRequest {
    #[prost(string, tag = "1")]
    pub r#type: String,
    #[prost(btree_map = "string, string", tag = "2")]
    pub attrs: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct FinalizeExportRequest {
    #[prost(btree_map = "string, string", tag = "1")]
    pub exporter_response: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct FinalizeExportResponse {}
