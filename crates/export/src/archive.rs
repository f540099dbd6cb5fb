//! Archives of images: OCI layouts as tar or directory, and the form that `docker load` takes; and
//! the way back.

mod read;
mod write;

pub use read::{Loaded, load_archive};
pub use write::{ArchiveKind, ArchiveTarget, export_archive};
