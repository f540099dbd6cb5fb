//! Packets as they travel.
//!
//! Names of files are bytes: what they are encoded in is nobody's business, and the clients do not check that
//! they are UTF-8, though the protocol calls them strings.

use std::collections::BTreeMap;

use bytes::Bytes;

/// What one name of a tree is.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Stat {
    /// The path from the root of the tree.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) path: Vec<u8>,
    /// Kind and permission bits, as Go's `os.FileMode` has them.
    #[prost(uint32, tag = "2")]
    pub(crate) mode: u32,
    /// The owner.
    #[prost(uint32, tag = "3")]
    pub(crate) uid: u32,
    /// The group.
    #[prost(uint32, tag = "4")]
    pub(crate) gid: u32,
    /// Bytes of content.
    #[prost(int64, tag = "5")]
    pub(crate) size: i64,
    /// When the content changed, in nanoseconds since 1970.
    #[prost(int64, tag = "6")]
    pub(crate) mod_time: i64,
    /// The target of a symbolic link, or the first name of a file with several.
    #[prost(bytes = "vec", tag = "7")]
    pub(crate) linkname: Vec<u8>,
    /// The major number of a device.
    #[prost(int64, tag = "8")]
    pub(crate) devmajor: i64,
    /// The minor number of a device.
    #[prost(int64, tag = "9")]
    pub(crate) devminor: i64,
    /// Extended attributes.
    #[prost(btree_map = "string, bytes", tag = "10")]
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Kind {
    /// A name of the tree, or the end of all names.
    Stat = 0,
    /// The content of a file is wanted.
    Req = 1,
    /// A part of a file's content, or its end.
    Data = 2,
    /// All is transferred.
    Fin = 3,
    /// Nothing more will be transferred.
    Err = 4,
}

/// One message of either side.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Packet {
    /// What it is.
    #[prost(enumeration = "Kind", tag = "1")]
    pub(crate) kind: i32,
    /// The name that is announced.
    #[prost(message, optional, tag = "2")]
    pub(crate) stat: Option<Stat>,
    /// The number of the file.
    #[prost(uint32, tag = "3")]
    pub(crate) id: u32,
    /// Content, or the text of an error.
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) data: Bytes,
}

impl Packet {
    pub(crate) fn stat(stat: Option<Stat>) -> Self {
        Self { kind: Kind::Stat.into(), stat, ..Self::default() }
    }

    pub(crate) fn request(id: u32) -> Self {
        Self { kind: Kind::Req.into(), id, ..Self::default() }
    }

    pub(crate) fn data(id: u32, data: Bytes) -> Self {
        Self { kind: Kind::Data.into(), id, data, ..Self::default() }
    }

    pub(crate) fn fin() -> Self {
        Self { kind: Kind::Fin.into(), ..Self::default() }
    }

    pub(crate) fn error(text: &str) -> Self {
        Self { kind: Kind::Err.into(), data: Bytes::copy_from_slice(text.as_bytes()), ..Self::default() }
    }

    /// Returns the text of an error, of a length and of characters that can be shown.
    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.data);
        text.chars().take(4096).map(|ch| if ch.is_control() { ' ' } else { ch }).collect()
    }
}
