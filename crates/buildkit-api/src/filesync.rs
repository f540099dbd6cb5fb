//! Bytes of a file on their way to a client.
#![allow(missing_docs, reason = "the names are the protocol's own")]

use bytes::Bytes;

#[derive(Clone, PartialEq, prost::Message)]
pub struct BytesMessage {
    #[prost(bytes = "bytes", tag = "1")]
    pub data: Bytes,
}
