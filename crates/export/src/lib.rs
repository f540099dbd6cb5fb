//! Results out of the house: an image in the store or a registry, an OCI or Docker archive, a plain
//! directory or tar.
//!
//! [`Output`] is what somebody asks for, [`BuildResult`] what a build returned, [`Destination`] where streams and
//! files go: to this machine or to a client. [`Exporter`] joins the three. Whose result it is and how its frontend
//! is called is not known here.

pub mod annotations;
pub mod archive;
pub mod assemble;
pub mod attestation;
pub mod commit;
pub mod destination;
pub mod exporter;
pub mod files;
pub mod inline;
pub mod output;
pub mod provenance;
pub mod response;
pub mod result;

mod attributes;
mod config;
mod error;
mod layer_type;
mod merged;
mod sbom;
mod store;
mod verify;

pub use annotations::Annotations;
pub use archive::{ArchiveKind, Contents, Loaded, export_archive, load_archive};
pub use assemble::{AssembleOptions, Assembled, manifest_of};
pub use attestation::{Attestation, NamedSubject, Subject};
pub use attributes::EPOCHS;
pub use commit::{Attested, Commit};
pub use destination::{Blob, Destination, DirectoryMode, Documents, LocalFiles, TarStream};
pub use error::ExportError;
pub use exporter::{Exported, Exporter, Push, StoredImages, image_id};
pub use files::{Unnamed, export_directory, export_tar};
pub use inline::InlineCache;
pub use output::{Asker, Output, OutputKind, OutputSpec};
pub use response::Response;
pub use result::{BuildResult, Part, Refs, platforms_value};
pub use verify::{Shape, platform_warnings};
