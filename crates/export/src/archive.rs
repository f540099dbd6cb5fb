//! Archives of images: OCI layouts as tar or directory, and the form that `docker load` takes; and
//! the way back.

mod read;
mod write;

pub use read::{Loaded, load_archive};
pub(crate) use write::write_layout;
pub use write::{ArchiveKind, Contents, export_archive};
