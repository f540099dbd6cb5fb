//! What can go wrong between registry and store.

use rbuild_oci::{DiffId, Digest, Platform};
use rbuild_store::LayerId;

/// Why an image or layer cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// The registry did not give or take it.
    #[error(transparent)]
    Registry(#[from] rbuild_registry::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] rbuild_store::Error),
    /// Unpacking or comparing trees failed.
    #[error(transparent)]
    Snapshot(#[from] rbuild_snapshot::SnapshotError),
    /// A document of an image is malformed.
    #[error("{what} {digest} of `{name}`: {reason}")]
    Document {
        /// Which document.
        what: &'static str,
        /// Its digest.
        digest: Digest,
        /// The image.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// An index has nothing for the platform.
    #[error("no match for platform in manifest: `{name}` has no image for {platform} (it has: {available})")]
    NoPlatform {
        /// The image.
        name: String,
        /// The platform wanted.
        platform: Platform,
        /// What there is.
        available: String,
    },
    /// The image is not in the store, and asking a registry is not allowed.
    #[error("image `{0}` is not in the local store, and pulling is off")]
    NotLocal(String),
    /// A layer is not what its image says.
    #[error("layer {layer}: the unpacked content has diff id {found}, the image says {wanted}")]
    DiffId {
        /// The layer's blob.
        layer: LayerId,
        /// What was found.
        found: DiffId,
        /// What was wanted.
        wanted: DiffId,
    },
    /// All forms of a layer are gone.
    #[error("layer {0} is neither in the store nor known to a registry; build again, or pull the image again")]
    Gone(LayerId),
    /// Compressing or decompressing failed.
    #[error("{action} layer {layer}")]
    Layer {
        /// What was attempted.
        action: &'static str,
        /// On which layer.
        layer: LayerId,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A panic in a thread of ours.
    #[error("a thread that handled a layer panicked")]
    Panicked,
}

impl ImagesError {
    /// Whether what was asked for is not there or not what it was said to be: asking again is in vain.
    pub(crate) fn is_final(&self) -> bool {
        use rbuild_registry::Error as E;
        matches!(
            self,
            Self::DiffId { .. }
                | Self::Gone(_)
                | Self::Registry(E::Mismatch { .. } | E::Refused { status: 404 | 410, .. })
                | Self::Store(rbuild_store::Error::DigestMismatch { .. } | rbuild_store::Error::SizeMismatch { .. })
        )
    }
}
