//! What is kept on disk: blobs, layers, images, results of the solver, cache mounts; with leases, garbage
//! collection and locks, for several processes at once and without a daemon.
//!
//! [`layout`] describes the directory and the rules that make it crash-safe. All calls block; they are
//! short unless they say otherwise. This room does not know what a layer's tree holds, how a blob is
//! fetched, or what a cache key is.

pub mod layout;

mod blob;
mod builds;
mod check;
mod database;
mod disk;
mod error;
mod gc;
mod image;
mod index;
mod ingest;
mod layer;
mod lease;
mod lock;
mod mounts;
mod prune;
mod reader;
mod result;
mod schema;
mod store;
mod trash;
mod tree;
mod usage;

pub use rusqlite;

pub use blob::{BlobInfo, Blobs};
pub use builds::{BuildRecord, BuildStatus, Builds};
pub use check::Problem;
pub use database::Database;
pub use disk::disk_usage;
pub use error::{Error, Result};
pub use gc::Reclaimed;
pub use image::{Image, ImageId, Images, NewImage, Untagged};
pub use ingest::{Ingest, Resumable};
pub use layer::{Layer, LayerBlob, LayerId, Layers, NewLayer, Remote, Tree};
pub use lock::{LockMode, NamedLock};
pub use mounts::{CacheMount, CacheMountRequest, CacheMounts, Sharing};
pub use prune::{Filter, ImagePrune, PruneOptions};
pub use reader::BlobReader;
pub use result::{NewResult, Results, StoredResult};
pub use store::{Options, Store};
pub use tree::{TreeBuild, TreeState};
pub use usage::{Kind, Record, Usage};
