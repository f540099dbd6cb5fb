//! A tree of files as a value: entries, patterns, tar in and out, compression, the build context and its
//! stat memory, content digests.
//!
//! This room knows files and bytes, not images: how layers lie upon each other is `snapshot`'s business.
//! Two things implement [`FileTree`]: the [`context::Listing`] of a build context here, and the merged view of
//! a chain of layers there. [`select`] and [`content`] work on either.

pub mod compress;
pub mod content;
pub mod context;
pub mod entry;
pub mod pattern;
pub mod select;
pub mod source;
pub mod tar;

pub use entry::{Device, Kind, LinkId, Metadata, Node, Time, Xattrs};
pub use source::{Content, FileTree, LONGEST_PATH, TreeError, WALK_STACK, check_length, spawn_walker};
