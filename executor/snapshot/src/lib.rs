//! Layered root filesystems: unpack, diff, look into a chain without mounting, prepare writable roots.
//!
//! A layer lies on disk as an uncompressed tar (*blob form*) or as a directory in the format of an overlay
//! upper (*tree form*). This room turns one into the other and reads chains made of both.

mod apply;
mod attributes;
mod diff;
mod error;
mod fuse;
mod make;
mod materialize;
mod overlay;
mod reduce;
mod roots;
mod unpack;
mod view;

pub use diff::{DiffOptions, DiffReport, diff};
pub use error::SnapshotError;
pub use roots::{Active, Committed, MAX_LOWERS, Roots, Strategy};
pub use unpack::{UnpackOptions, UnpackReport, unpack};
pub use view::{LayerForm, MergedView};

#[cfg(test)]
mod tests;
