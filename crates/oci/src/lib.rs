//! Content identity and the image formats as plain values: digests, descriptors, manifests, image
//! configurations, platforms and references.
//!
//! Everything here is vocabulary: no IO, no policy. Whatever is pushed or stored by digest keeps its
//! raw bytes beside the parsed value, because parsing and writing JSON again may change them.

pub mod config;
pub mod descriptor;
pub mod digest;
pub mod document;
pub mod json;
pub mod manifest;
pub mod media_type;
pub mod platform;
pub mod reference;

pub use config::{ContainerConfig, HealthConfig, History, ImageConfig, RootFs};
pub use descriptor::Descriptor;
pub use digest::{ChainId, DiffId, Digest, DigestError, Hasher};
pub use document::{Document, DocumentError};
pub use json::JsonError;
pub use manifest::{Index, Manifest};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
