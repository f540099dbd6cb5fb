//! Results out of the house: an image in the store or a registry, an OCI or Docker archive, a plain
//! directory or tar.
//!
//! [`assemble`](assemble::assemble) makes manifests of what was built; each exporter is one file and
//! takes what it needs of them.

pub mod archive;
pub mod assemble;
pub mod files;
pub mod store;

mod error;

pub use archive::{ArchiveKind, ArchiveTarget, Loaded, export_archive, load_archive};
pub use assemble::{
    AssembleOptions, Assembled, Built, assemble, configuration, index_of, manifest_of, with_times_until,
};
pub use error::ExportError;
pub use files::{TarPart, export_directory, export_tar};
pub use store::record;
