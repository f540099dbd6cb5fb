//! Messages of the service that takes traces. Clients always send theirs; what they hold is not looked at.

/// Spans of a client; their content is skipped.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ExportRequest {}

/// Says that all spans were taken.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ExportResponse {}
