//! The tables of the index; [`layout`](crate::layout) says who refers to whom.
//!
//! Times are milliseconds since the epoch; digests are their 32 bytes; descriptors are JSON. `boot` is the
//! boot in which a file was written as long as it is not known to be on the disk, see
//! [`layout`](crate::layout).

/// The version of these tables.
pub(crate) const VERSION: u32 = 1;

pub(crate) const TABLES: &str = "
CREATE TABLE schemas(
    room TEXT PRIMARY KEY, version INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE blobs(
    digest BLOB PRIMARY KEY, size INTEGER NOT NULL, disk INTEGER NOT NULL, created INTEGER NOT NULL, boot TEXT
) WITHOUT ROWID;

CREATE TABLE layers(
    id INTEGER PRIMARY KEY AUTOINCREMENT, diff_id BLOB, kind TEXT NOT NULL, description TEXT NOT NULL,
    created INTEGER NOT NULL, tree_size INTEGER, tree_chain BLOB, tree_created INTEGER, tree_boot TEXT
);
CREATE INDEX layers_by_diff_id ON layers(diff_id) WHERE diff_id IS NOT NULL;

CREATE TABLE layer_blobs(
    layer INTEGER NOT NULL REFERENCES layers ON DELETE CASCADE, digest BLOB NOT NULL,
    variant TEXT NOT NULL, descriptor TEXT NOT NULL,
    PRIMARY KEY(layer, digest)
) WITHOUT ROWID;
CREATE INDEX layer_blobs_by_digest ON layer_blobs(digest);

CREATE TABLE layer_remotes(
    layer INTEGER NOT NULL REFERENCES layers ON DELETE CASCADE, reference TEXT NOT NULL, digest BLOB NOT NULL,
    descriptor TEXT NOT NULL,
    PRIMARY KEY(layer, reference, digest)
) WITHOUT ROWID;

CREATE TABLE images(
    id INTEGER PRIMARY KEY, config BLOB NOT NULL UNIQUE, target TEXT, platform TEXT NOT NULL,
    created INTEGER NOT NULL, recorded INTEGER NOT NULL
);
CREATE TABLE image_names(
    name TEXT PRIMARY KEY, image INTEGER NOT NULL REFERENCES images ON DELETE CASCADE, tagged INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX image_names_by_image ON image_names(image);
CREATE TABLE image_digests(
    image INTEGER NOT NULL REFERENCES images ON DELETE CASCADE, name TEXT NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY(image, name, digest)
) WITHOUT ROWID;
CREATE INDEX image_digests_by_digest ON image_digests(digest);
CREATE TABLE image_layers(
    image INTEGER NOT NULL REFERENCES images ON DELETE CASCADE, position INTEGER NOT NULL,
    layer INTEGER NOT NULL REFERENCES layers,
    PRIMARY KEY(image, position)
) WITHOUT ROWID;
CREATE INDEX image_layers_by_layer ON image_layers(layer);
CREATE TABLE image_blobs(
    image INTEGER NOT NULL REFERENCES images ON DELETE CASCADE, digest BLOB NOT NULL,
    PRIMARY KEY(image, digest)
) WITHOUT ROWID;
CREATE INDEX image_blobs_by_digest ON image_blobs(digest);

CREATE TABLE results(
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, description TEXT NOT NULL, value BLOB NOT NULL,
    created INTEGER NOT NULL, used INTEGER NOT NULL, uses INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE result_layers(
    result TEXT NOT NULL REFERENCES results ON DELETE CASCADE, position INTEGER NOT NULL,
    layer INTEGER NOT NULL REFERENCES layers,
    PRIMARY KEY(result, position)
) WITHOUT ROWID;
CREATE INDEX result_layers_by_layer ON result_layers(layer);

CREATE TABLE leases(
    id TEXT PRIMARY KEY, created INTEGER NOT NULL, pid INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE lease_layers(
    lease TEXT NOT NULL REFERENCES leases ON DELETE CASCADE, layer INTEGER NOT NULL REFERENCES layers,
    PRIMARY KEY(lease, layer)
) WITHOUT ROWID;
CREATE INDEX lease_layers_by_layer ON lease_layers(layer);
CREATE TABLE lease_blobs(
    lease TEXT NOT NULL REFERENCES leases ON DELETE CASCADE, digest BLOB NOT NULL,
    PRIMARY KEY(lease, digest)
) WITHOUT ROWID;
CREATE INDEX lease_blobs_by_digest ON lease_blobs(digest);

CREATE TABLE pins(
    owner TEXT NOT NULL, layer INTEGER NOT NULL REFERENCES layers,
    PRIMARY KEY(owner, layer)
) WITHOUT ROWID;
CREATE INDEX pins_by_layer ON pins(layer);

CREATE TABLE cache_mounts(
    hash TEXT NOT NULL, slot INTEGER NOT NULL, id TEXT NOT NULL,
    created INTEGER NOT NULL, used INTEGER NOT NULL, uses INTEGER NOT NULL,
    PRIMARY KEY(hash, slot)
) WITHOUT ROWID;

CREATE TABLE builds(
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, status TEXT NOT NULL,
    started INTEGER NOT NULL, finished INTEGER, detail TEXT NOT NULL
);
";

/// The tables of pinned blobs, which older stores get when they are opened.
pub(crate) const BLOB_PINS: (&str, u32, &str) = (
    "blob pins",
    1,
    "
CREATE TABLE blob_pins(
    owner TEXT NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY(owner, digest)
) WITHOUT ROWID;
CREATE INDEX blob_pins_by_digest ON blob_pins(digest);
",
);
