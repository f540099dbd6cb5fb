//! Provenance: how a result came to be, as a value and as SLSA predicates of two versions.
//!
//! Whoever builds gathers a [`Capture`]; [`Provenance`] is what it and the run make of it. The predicate becomes an
//! [`Attestation`](crate::Attestation) like any other.

mod capture;
mod late;
mod materials;
mod options;
mod predicate;

pub use capture::{
    BlobSource, Capture, GitSource, HttpSource, ImageSource, Parameters, RequestProvenance, Secret, Sources,
};
pub use late::LateProvenance;
pub use materials::{ConfigSource, Material};
pub use options::{AttestOptions, Mode, ProvenanceOptions, Version};
pub use predicate::{BuildConfig, BuildStep, Provenance, Run};
