//! Looking for damage: what would be trusted is read and compared.

use std::fmt;

use rbuild_oci::Digest;

use crate::error::{Error, Result};
use crate::{ImageId, LayerId, Store};

/// Something in the store is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A blob's file is missing or has other bytes.
    Blob {
        /// The blob.
        digest: Digest,
        /// What was found.
        reason: String,
    },
    /// A layer has neither tree nor blob, and no registry to fetch it from.
    Layer(LayerId),
    /// An image cannot be used, because this blob of it is missing.
    Image {
        /// The image.
        id: ImageId,
        /// The blob.
        digest: Digest,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob { digest, reason } => write!(f, "blob {digest}: {reason}"),
            Self::Layer(id) => write!(f, "layer {id} has neither tree nor blob, and nowhere to fetch it from"),
            Self::Image { id, digest } => write!(f, "image {id} lacks its blob {digest}"),
        }
    }
}

impl Store {
    /// Reads all blobs and looks whether layers and images have what they need; returns what is wrong.
    ///
    /// Corrupt blobs are removed, since nothing may trust them; with `repair`, results whose layers are
    /// gone are forgotten too, so that the next build makes them again. Takes as long as reading the store.
    ///
    /// # Errors
    /// If the index or a file cannot be read at all.
    pub fn check(&self, repair: bool) -> Result<Vec<Problem>> {
        let mut problems = Vec::new();
        for blob in self.blobs().list()? {
            let reason = match self.blobs().verify(&blob.digest) {
                Ok(()) => continue,
                Err(Error::Corrupt { reason, .. }) => reason,
                Err(Error::NoBlob(_)) => {
                    self.blobs().quarantine(&blob.digest)?;
                    "its file is missing or has another size".to_owned()
                }
                Err(error) => return Err(error),
            };
            problems.push(Problem::Blob { digest: blob.digest, reason });
        }
        self.check_layers(repair, &mut problems)?;
        for image in self.images().list()? {
            for digest in [Some(image.id.0), image.target.map(|target| target.digest)].into_iter().flatten() {
                if !self.blobs().has(&digest)? {
                    problems.push(Problem::Image { id: image.id, digest });
                }
            }
        }
        Ok(problems)
    }

    fn check_layers(&self, repair: bool, problems: &mut Vec<Problem>) -> Result<()> {
        let used: Vec<LayerId> = self.database().read("listing layers", |c| {
            c.prepare_cached(
                "SELECT layer FROM image_layers UNION SELECT layer FROM result_layers UNION SELECT layer FROM pins",
            )?
            .query_map([], |row| row.get(0))?
            .collect()
        })?;
        for id in used {
            if self.layers().get(id)?.is_available() {
                continue;
            }
            problems.push(Problem::Layer(id));
            if repair {
                self.database().write("forgetting results", |tx| {
                    tx.execute(
                        "DELETE FROM results WHERE id IN (SELECT result FROM result_layers WHERE layer = ?1)",
                        [id],
                    )
                })?;
            }
        }
        Ok(())
    }
}
