//! Images and their names.
//!
//! An image's id is the digest of its configuration. A name leads to one image; an image may have many
//! names, or none (then it is dangling, and the next prune takes it).

use std::fmt;
use std::time::SystemTime;

use rbuild_oci::{Descriptor, Digest, Platform, Reference};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};

use crate::blob::digest_at;
use crate::database::Failure;
use crate::error::{Error, Result};
use crate::layer::{exists, from_json, to_json};
use crate::store::{millis, time};
use crate::{LayerId, Store};

/// The digest of an image's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageId(pub Digest);

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An image to be recorded. Its blobs and layers must be in the store, held by the lease.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// The digest of its configuration, which must be a blob of the store.
    pub id: ImageId,
    /// Its manifest, if there is one.
    pub target: Option<Descriptor>,
    /// Its layers, bottom first.
    pub layers: Vec<LayerId>,
    /// Blobs to keep besides configuration and manifest, such as the index it came from.
    pub blobs: Vec<Digest>,
    /// What it runs on.
    pub platform: Platform,
    /// When it was made, as its configuration tells.
    pub created: SystemTime,
}

/// A recorded image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The id.
    pub id: ImageId,
    /// Its manifest, if there is one.
    pub target: Option<Descriptor>,
    /// Its layers, bottom first.
    pub layers: Vec<LayerId>,
    /// What it runs on.
    pub platform: Platform,
    /// When it was made.
    pub created: SystemTime,
    /// When it was recorded here.
    pub recorded: SystemTime,
    /// Its names, sorted.
    pub names: Vec<Reference>,
    /// Repositories in which it is known to lie, with the digest it has there.
    pub digests: Vec<Reference>,
}

/// What [`Images::untag`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untagged {
    /// The image that lost a name.
    pub id: ImageId,
    /// Whether it has other names.
    pub has_names: bool,
}

/// The images of a store.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    store: &'a Store,
}

impl<'a> Images<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// Records an image and gives it names, all or nothing. A name that another image had moves.
    ///
    /// # Errors
    /// If a layer or blob is not in the store.
    pub fn record(&self, image: &NewImage, names: &[Reference]) -> Result<()> {
        self.store.database().transact("recording an image", |tx| {
            let row = self.insert(tx, image)?;
            for name in names {
                self.set_name(tx, row, name)?;
            }
            Ok(())
        })?;
        self.store.mark_index();
        Ok(())
    }

    /// Gives an image another name; if another image had it, it moves.
    ///
    /// # Errors
    /// If there is no such image.
    pub fn tag(&self, id: &ImageId, name: &Reference) -> Result<()> {
        self.store.database().transact("tagging an image", |tx| {
            let row = row_of(tx, id)?.ok_or_else(|| Error::NoImage(id.to_string()))?;
            self.set_name(tx, row, name)
        })?;
        self.store.mark_index();
        Ok(())
    }

    /// Remembers that the image lies in a repository under a digest, as after a pull or push.
    ///
    /// # Errors
    /// If there is no such image.
    pub fn add_digest(&self, id: &ImageId, repository: &Reference, digest: &Digest) -> Result<()> {
        self.store.database().transact("recording a repository", |tx| {
            let row = row_of(tx, id)?.ok_or_else(|| Error::NoImage(id.to_string()))?;
            tx.execute(
                "INSERT OR IGNORE INTO image_digests(image, name, digest) VALUES(?1, ?2, ?3)",
                params![row, repository.name(), digest.as_bytes()],
            )?;
            Ok(())
        })
    }

    /// Takes a name away; none if nothing has this name. Deletes no image.
    ///
    /// # Errors
    /// If the index cannot be written.
    pub fn untag(&self, name: &Reference) -> Result<Option<Untagged>> {
        let untagged = self.store.database().transact("untagging an image", |tx| {
            let found = tx
                .prepare_cached("DELETE FROM image_names WHERE name = ?1 RETURNING image")?
                .query_row([name.to_string()], |row| row.get::<_, i64>(0))
                .optional()?;
            let Some(image) = found else { return Ok(None) };
            let id = tx.query_row("SELECT config FROM images WHERE id = ?1", [image], |row| digest_at(row, 0))?;
            let has_names = tx.prepare("SELECT 1 FROM image_names WHERE image = ?1")?.exists([image])?;
            Ok(Some(Untagged { id: ImageId(id), has_names }))
        })?;
        self.store.mark_index();
        Ok(untagged)
    }

    /// Forgets an image and its names; returns whether it was there. What nothing else uses is freed by
    /// [`Store::collect`].
    ///
    /// # Errors
    /// If the index cannot be written.
    pub fn remove(&self, id: &ImageId) -> Result<bool> {
        let removed = self
            .store
            .database()
            .write("removing an image", |tx| tx.execute("DELETE FROM images WHERE config = ?1", [id.0.as_bytes()]))?;
        self.store.mark_index();
        Ok(removed > 0)
    }

    /// Returns an image, its layers and blobs held by the lease.
    ///
    /// # Errors
    /// If the index cannot be used.
    pub fn get(&self, id: &ImageId) -> Result<Option<Image>> {
        let lease = &self.store.lease;
        lease.ensure_file()?;
        let found = self.store.database().transact("reading an image", |tx| {
            let Some((row, image)) = find(tx, id)? else { return Ok(None) };
            lease.hold_layers(tx, &image.layers)?;
            let blobs = blobs_of(tx, row)?;
            for digest in &blobs {
                lease.hold_blob(tx, digest)?;
            }
            Ok(Some((image, blobs)))
        })?;
        Ok(found.map(|(image, blobs)| {
            lease.committed(&image.layers, &blobs);
            image
        }))
    }

    /// Finds an image by name, by name and digest, by id, or by the beginning of its id.
    ///
    /// # Errors
    /// If there is none, or several ids begin so.
    pub fn resolve(&self, text: &str) -> Result<Image> {
        let missing = || Error::NoImage(text.to_owned());
        let by_name = match Reference::parse(text) {
            Ok(name) => self.store.database().read("looking up a name", |c| by_name(c, &name))?,
            Err(_) => None,
        };
        let id = match by_name {
            Some(id) => id,
            None => self.by_prefix(text)?.ok_or_else(missing)?,
        };
        self.get(&id)?.ok_or_else(missing)
    }

    /// Lists all images, the youngest first.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn list(&self) -> Result<Vec<Image>> {
        self.store.database().read("listing images", list)
    }

    fn by_prefix(&self, text: &str) -> Result<Option<ImageId>> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let digits = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if hex.is_empty() || hex.len() > 64 || !hex.bytes().all(digits) {
            return Ok(None);
        }
        let (low, high) = (bound(hex, '0'), bound(hex, 'f'));
        let found: Vec<Digest> = self.store.database().read("looking up an id", |c| {
            c.prepare_cached("SELECT config FROM images WHERE config BETWEEN ?1 AND ?2 LIMIT 2")?
                .query_map([low, high], |row| digest_at(row, 0))?
                .collect()
        })?;
        match found[..] {
            [] => Ok(None),
            [one] => Ok(Some(ImageId(one))),
            _ => Err(Error::Ambiguous(text.to_owned())),
        }
    }

    fn insert(&self, tx: &Transaction<'_>, image: &NewImage) -> Result<i64, Failure> {
        let target = image.target.as_ref().map(to_json);
        let config = image.id.0;
        let row: i64 = tx
            .prepare_cached(
                "INSERT INTO images(config, target, platform, created, recorded) VALUES(?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT(config) DO UPDATE SET target = coalesce(?2, target), recorded = ?5 RETURNING id",
            )?
            .query_row(
                params![
                    config.as_bytes(),
                    target,
                    to_json(&image.platform),
                    millis(image.created),
                    millis(self.store.now())
                ],
                |row| row.get(0),
            )?;
        tx.execute("DELETE FROM image_layers WHERE image = ?1", [row])?;
        for (position, layer) in image.layers.iter().enumerate() {
            if !exists(tx, *layer)? {
                return Err(Error::NoLayer(*layer).into());
            }
            tx.prepare_cached("INSERT INTO image_layers(image, position, layer) VALUES(?1, ?2, ?3)")?
                .execute(params![row, position, layer])?;
        }
        let blobs = image.blobs.iter().copied().chain([config]).chain(image.target.as_ref().map(|t| t.digest));
        for digest in blobs {
            if !tx.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?.exists([digest.as_bytes()])? {
                return Err(Error::NoBlob(digest).into());
            }
            tx.prepare_cached("INSERT OR IGNORE INTO image_blobs(image, digest) VALUES(?1, ?2)")?
                .execute(params![row, digest.as_bytes()])?;
        }
        Ok(row)
    }

    fn set_name(&self, tx: &Transaction<'_>, image: i64, name: &Reference) -> Result<(), Failure> {
        tx.prepare_cached("INSERT OR REPLACE INTO image_names(name, image, tagged) VALUES(?1, ?2, ?3)")?
            .execute(params![name.to_string(), image, millis(self.store.now())])?;
        Ok(())
    }
}

/// Reads all images.
pub(crate) fn list(connection: &Connection) -> rusqlite::Result<Vec<Image>> {
    let ids: Vec<Digest> = connection
        .prepare_cached("SELECT config FROM images ORDER BY created DESC, id DESC")?
        .query_map([], |row| digest_at(row, 0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut images = Vec::with_capacity(ids.len());
    for id in ids {
        images.extend(find(connection, &ImageId(id))?.map(|(_, image)| image));
    }
    Ok(images)
}

fn row_of(connection: &Connection, id: &ImageId) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM images WHERE config = ?1")?
        .query_row([id.0.as_bytes()], |row| row.get(0))
        .optional()
}

fn find(connection: &Connection, id: &ImageId) -> rusqlite::Result<Option<(i64, Image)>> {
    let read = |row: &Row<'_>| {
        let target: Option<String> = row.get(1)?;
        let target = target.map(|_| from_json(row, 1)).transpose()?;
        let image = Image {
            id: *id,
            target,
            layers: Vec::new(),
            platform: from_json(row, 2)?,
            created: time(row.get(3)?),
            recorded: time(row.get(4)?),
            names: Vec::new(),
            digests: Vec::new(),
        };
        Ok((row.get::<_, i64>(0)?, image))
    };
    let found = connection
        .prepare_cached("SELECT id, target, platform, created, recorded FROM images WHERE config = ?1")?
        .query_row([id.0.as_bytes()], read)
        .optional()?;
    let Some((row, mut image)) = found else { return Ok(None) };
    image.layers = connection
        .prepare_cached("SELECT layer FROM image_layers WHERE image = ?1 ORDER BY position")?
        .query_map([row], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    image.names = connection
        .prepare_cached("SELECT name FROM image_names WHERE image = ?1 ORDER BY name")?
        .query_map([row], |row| reference_at(row, 0))?
        .collect::<rusqlite::Result<_>>()?;
    image.digests = connection
        .prepare_cached("SELECT name, digest FROM image_digests WHERE image = ?1 ORDER BY name, digest")?
        .query_map([row], |row| {
            let repository = Reference { tag: None, ..reference_at(row, 0)? };
            Ok(repository.with_digest(digest_at(row, 1)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some((row, image)))
}

fn by_name(connection: &Connection, name: &Reference) -> rusqlite::Result<Option<ImageId>> {
    let exact = connection
        .prepare_cached("SELECT i.config FROM image_names n JOIN images i ON i.id = n.image WHERE n.name = ?1")?
        .query_row([name.to_string()], |row| digest_at(row, 0))
        .optional()?;
    if let (None, Some(digest)) = (exact, name.digest) {
        return connection
            .prepare_cached(
                "SELECT i.config FROM image_digests d JOIN images i ON i.id = d.image WHERE d.name = ?1 AND d.digest = ?2",
            )?
            .query_row(params![name.name(), digest.as_bytes()], |row| digest_at(row, 0).map(ImageId))
            .optional();
    }
    Ok(exact.map(ImageId))
}

fn blobs_of(connection: &Connection, image: i64) -> rusqlite::Result<Vec<Digest>> {
    connection
        .prepare_cached("SELECT digest FROM image_blobs WHERE image = ?1")?
        .query_map([image], |row| digest_at(row, 0))?
        .collect()
}

fn reference_at(row: &Row<'_>, index: usize) -> rusqlite::Result<Reference> {
    let text: String = row.get(index)?;
    Reference::parse(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error)))
}

/// Completes the beginning of an id with one digit.
fn bound(hex: &str, fill: char) -> [u8; 32] {
    let full: String = hex.chars().chain(std::iter::repeat(fill)).take(64).collect();
    let digest: Digest = format!("sha256:{full}").parse().expect("64 lower-case hexadecimal digits");
    *digest.as_bytes()
}
