//! Cache import and export: what one store remembers, carried to another through a registry, inside of
//! an image, or as files.
//!
//! ```text
//! export:  job ─explanations▶ Collected ─layers to blobs▶ Config ─Backend▶ blobs, config, manifest
//! import:  manifest, config ─Backend▶ Imported ─Overlay▶ a second cache beside the local one
//! ```
//!
//! An import reads a manifest and a configuration and nothing else. Jobs that look into it
//! ([`Imports::memory`]) follow its links beside those of the local cache. What a job loads of it becomes a
//! local record of layers that are fetched when somebody looks into them; if a blob turns out to be missing or
//! not what it was said to be, the step is run instead ([`strike`]).
//!
//! The documents have the shape of BuildKit's ([`config`]). Keys are this program's own: a cache written by
//! BuildKit is told and left alone, and ours holds nothing that BuildKit would find.
//!
//! What this room does not know: how the command line or a client spells things beyond a type and
//! attributes, and how a client's directory is reached ([`ContentStore`]).

pub mod backend;
pub mod config;

mod attributes;
mod collect;
mod decode;
mod document;
mod encode;
mod error;
mod export;
mod import;
mod overlay;
mod shown;
mod spec;
mod speller;

pub use backend::{Backend, BackendError, BoxError, ContentStore, Directory, Local, Put, Registry};
pub use collect::Target;
pub use error::RemoteError;
pub use export::{CACHE_MANIFEST, Exports, INLINE_FIELD, Solution};
pub use import::{Imports, strike};
pub use spec::{CacheSpec, ExportSpec, ImportSpec, Place, SpecError};
