//! What each op of the build graph does: its cache key, and its run.
//!
//! [`resolve`] turns a loaded graph into the solver's: sources (images, local directories, files by
//! http, git), [`exec`](mod@exec) in a sandbox, [`file`](mod@file) actions, merge, diff and passthrough, and
//! [`build`](mod@build) of what an input defines. The value that flows is a [`Ref`]: a list of layers.

mod build;
mod device;
mod error;
mod exec;
mod file;
mod inspect;
mod layering;
mod portable;
mod remains;
mod resolve;
mod results;
mod session;
mod source;
mod ssh;
mod value;
mod worker;

pub use build::Admit;
pub use device::{DescribedDevice, DeviceError, DeviceGrants, GrantError, described_devices};
pub use error::OpsError;
pub use exec::{Container, ContainerProcess, ContainerRequest, ProcessFailed, ProcessRequest, Streams};
pub use file::{FileError, OwnerError};
pub use inspect::FileRange;
pub use remains::{Failed, FailedPart, Remains};
pub use resolve::resolve;
pub use results::LayerResults;
pub use session::{Agent, Differ, Keep, Layout, LayoutBlobs, LocalDirectory, LocalForm, LocalRequest, Session};
pub use source::git::GitError;
pub use source::metadata::{Algorithm, GitMetadata, HttpMetadata};
pub use source::oci_layout::{LayoutImage, OciLayout};
pub use value::{Local, Ref};
pub use worker::Worker;

/// Runs blocking work off the async threads.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T, OpsError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, OpsError> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.map_err(|_| OpsError::Panicked)?
}
