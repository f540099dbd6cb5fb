//! The build cache that an image carries with it.

use rbuild_images::MadeBlob;
use rbuild_store::LayerId;

/// Tells which results of the build the layers of an image are.
pub trait InlineCache: Send + Sync {
    /// Returns the entry for the image of a platform, once its layers have their blobs.
    ///
    /// # Errors
    /// If it cannot be made.
    fn entry(
        &self,
        platform: &str,
        layers: &[(LayerId, MadeBlob)],
    ) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>>;
}
