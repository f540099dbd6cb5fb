//! The build graph: LLB ops as bytes, vertices and edges, validation, canonical encoding, printing.
//!
//! A vertex keeps the bytes it came in as, and its digest is their sha256: the same graph that
//! BuildKit's clients speak. A [`Definition`] is what is sent or stored; [`Graph::load`] makes a
//! [`Graph`] of it, after which no index dangles and no choice is unset, whoever wrote it.
//! [`Builder`] is the other direction. This crate does not know how an op is carried out.

mod builder;
mod capability;
mod definition;
pub mod description;
mod dump;
mod entitlement;
mod error;
mod load;
mod name;
pub mod pb;
pub mod policy;
mod rewrite;
pub mod source;
mod validate;
mod vertex;

pub use builder::{Builder, Node, Output};
pub use capability::{Capability, capabilities};
pub use definition::Definition;
pub use entitlement::Entitlements;
pub use error::GraphError;
pub use load::{Graph, MAX_BYTES, MAX_VERTICES};
pub use vertex::{Edge, Operand, Vertex};
