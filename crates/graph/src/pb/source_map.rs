//! Messages that say where in which file a vertex comes from.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Definition;

/// Where the vertices of a definition come from.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Source {
    /// Places by vertex digest.
    #[prost(btree_map = "string, message", tag = "1")]
    pub locations: BTreeMap<String, Locations>,
    /// The files.
    #[prost(message, repeated, tag = "2")]
    pub infos: Vec<SourceInfo>,
}

/// Places.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Locations {
    /// The places.
    #[prost(message, repeated, tag = "1")]
    pub locations: Vec<Location>,
}

/// A file that vertices come from.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SourceInfo {
    /// Its name.
    #[prost(string, tag = "1")]
    pub filename: String,
    /// Its text.
    #[prost(bytes = "bytes", tag = "2")]
    pub data: Bytes,
    /// How it was fetched.
    #[prost(message, optional, tag = "3")]
    pub definition: Option<Definition>,
    /// Its language, such as `Dockerfile`.
    #[prost(string, tag = "4")]
    pub language: String,
}

/// Areas in one file.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Location {
    /// Index of the file.
    #[prost(int32, tag = "1")]
    pub source_index: i32,
    /// The areas.
    #[prost(message, repeated, tag = "2")]
    pub ranges: Vec<Range>,
}

/// An area of a file.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Range {
    /// First position.
    #[prost(message, optional, tag = "1")]
    pub start: Option<Position>,
    /// Last position.
    #[prost(message, optional, tag = "2")]
    pub end: Option<Position>,
}

/// A position in a file.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Position {
    /// Line, from 1.
    #[prost(int32, tag = "1")]
    pub line: i32,
    /// Column, from 0.
    #[prost(int32, tag = "2")]
    pub character: i32,
}
