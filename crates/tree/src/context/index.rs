//! What is remembered of the files of a context: their digests, as long as their state is the same.
//!
//! # Format
//!
//! One file, little endian, written whole and renamed into place:
//!
//! ```text
//! magic "rbuildcx" | version u32 | crc32 of the rest u32 | count u64
//! count times: device u64 | inode u64 | size u64 | mtime i64 u32 | ctime i64 u32 | sha256 [32]
//!              | attribute bytes u32 | attributes: (name length u16, name, value length u32, value)*
//! ```
//!
//! The key is the inode, not the name: what a file holds is a matter of its inode's state, and the state says
//! when that changed. A file is *racily clean* if it changed so shortly before it was looked at that a later
//! change could carry the same times; such files are not remembered at all and are read again next time
//! (git's index solves the same problem the same way).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rbuild_oci::Digest;
use rbuild_sys::dir::{Stamp, Stat};

use crate::entry::{Time, Xattrs};
use crate::source::TreeError;

const MAGIC: &[u8; 8] = b"rbuildcx";
const VERSION: u32 = 1;
const HEADER: usize = 24;

/// The state of an inode that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) mtime: Stamp,
    pub(super) ctime: Stamp,
}

impl From<&Stat> for State {
    fn from(stat: &Stat) -> Self {
        let Stat { device, inode, size, mtime, ctime, .. } = *stat;
        Self { device, inode, size, mtime, ctime }
    }
}

impl State {
    /// Returns whether a change at or after `seen` would show in the times.
    pub(super) fn is_settled(&self, seen: Time) -> bool {
        let last = self.mtime.max(self.ctime);
        // Filesystems that keep whole or even seconds, and the kernel's clock tick.
        let (seconds, nanoseconds) = if self.ctime.nanoseconds == 0 { (2, 0) } else { (0, 20_000_000) };
        let total = i128::from(last.seconds + seconds) * 1_000_000_000 + i128::from(last.nanoseconds + nanoseconds);
        total < i128::from(seen.seconds) * 1_000_000_000 + i128::from(seen.nanoseconds)
    }
}

/// What is known of a file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) digest: Digest,
    pub(super) xattrs: Xattrs,
}

/// The remembered digests of a context directory, kept in one file.
#[derive(Debug, Default)]
pub struct ContextIndex {
    records: Vec<(State, Known)>,
    by_inode: HashMap<(u64, u64), u32, BuildHasherDefault<InodeHasher>>,
}

/// Spreads device and inode numbers; nobody gains anything by choosing them.
#[derive(Debug, Default)]
struct InodeHasher(u64);

impl Hasher for InodeHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

impl ContextIndex {
    /// Reads the index at `path`; a missing, old or damaged file gives an empty index.
    pub fn load(path: &Path) -> Self {
        std::fs::read(path).ok().and_then(|bytes| Self::decode(&bytes)).unwrap_or_default()
    }

    /// Returns how many files are remembered.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn get(&self, state: &State) -> Option<&Known> {
        let at = *self.by_inode.get(&(state.device, state.inode))?;
        let (remembered, known) = self.records.get(at as usize)?;
        (remembered == state).then_some(known)
    }

    /// Remembers a file; the caller sees to it that no inode comes twice.
    pub(super) fn insert(&mut self, state: State, known: Known) {
        let at = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        self.by_inode.insert((state.device, state.inode), at);
        self.records.push((state, known));
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &(State, Known)> {
        self.records.iter()
    }

    pub(super) fn save(&self, path: &Path) -> Result<(), TreeError> {
        // Builds for several platforms may save the same memory at the same time.
        static SAVED: AtomicU64 = AtomicU64::new(0);
        let number = SAVED.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("tmp{}-{number}", std::process::id()));
        let saved = std::fs::write(&temporary, self.encode())
            .map_err(TreeError::io("writing", &temporary))
            .and_then(|()| std::fs::rename(&temporary, path).map_err(TreeError::io("replacing", path)));
        if saved.is_err() {
            // On a full disk, say; nobody else looks for it.
            let _ = std::fs::remove_file(&temporary);
        }
        saved
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + self.records.len() * 96);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(self.records.len() as u64).to_le_bytes());
        for (state, known) in &self.records {
            for number in [state.device, state.inode, state.size] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            for stamp in [state.mtime, state.ctime] {
                out.extend_from_slice(&stamp.seconds.to_le_bytes());
                out.extend_from_slice(&stamp.nanoseconds.to_le_bytes());
            }
            out.extend_from_slice(known.digest.as_bytes());
            let at = out.len();
            out.extend_from_slice(&[0; 4]);
            for (name, value) in &known.xattrs {
                out.extend_from_slice(&(name.len() as u16).to_le_bytes());
                out.extend_from_slice(name);
                out.extend_from_slice(&(value.len() as u32).to_le_bytes());
                out.extend_from_slice(value);
            }
            let length = (out.len() - at - 4) as u32;
            out[at..at + 4].copy_from_slice(&length.to_le_bytes());
        }
        let crc = libdeflater::crc32(&out[16..]);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Fields(bytes);
        let good =
            input.take(8)? == MAGIC && input.u32()? == VERSION && input.u32()? == libdeflater::crc32(bytes.get(16..)?);
        if !good {
            return None;
        }
        let count = usize::try_from(input.u64()?).ok().filter(|count| *count <= bytes.len() / 80)?;
        let mut index = Self::default();
        index.records.reserve(count);
        index.by_inode.reserve(count);
        for _ in 0..count {
            let (device, inode, size) = (input.u64()?, input.u64()?, input.u64()?);
            let (mtime, ctime) = (input.stamp()?, input.stamp()?);
            let digest = Digest::from_bytes(input.take(32)?.try_into().ok()?);
            let length = input.u32()? as usize;
            let mut attributes = Fields(input.take(length)?);
            let mut xattrs = Xattrs::new();
            while !attributes.0.is_empty() {
                let name_length = usize::from(attributes.u16()?);
                let name = attributes.take(name_length)?.to_vec();
                let value_length = attributes.u32()? as usize;
                xattrs.insert(name, attributes.take(value_length)?.to_vec());
            }
            let state = State { device, inode, size, mtime, ctime };
            index.insert(state, Known { digest, xattrs });
        }
        input.0.is_empty().then_some(index)
    }
}

/// Bytes being taken from the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn stamp(&mut self) -> Option<Stamp> {
        let seconds = self.u64()?.cast_signed();
        Some(Stamp { seconds, nanoseconds: self.u32()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(inode: u64, seconds: i64, nanoseconds: u32) -> State {
        let stamp = Stamp { seconds, nanoseconds };
        State { device: 1, inode, size: 3, mtime: stamp, ctime: stamp }
    }

    #[test]
    fn reads_back_and_refuses_damage() {
        let mut index = ContextIndex::default();
        let xattrs = Xattrs::from([(b"user.a".to_vec(), b"1".to_vec()), (b"user.b".to_vec(), Vec::new())]);
        index.insert(state(1, 5, 6), Known { digest: Digest::of(b"a"), xattrs });
        index.insert(state(2, 7, 8), Known { digest: Digest::of(b"b"), xattrs: Xattrs::new() });
        let bytes = index.encode();
        assert_eq!(ContextIndex::decode(&bytes).unwrap().records, index.records);
        assert!(index.get(&state(1, 5, 6)).is_some());
        assert!(index.get(&state(1, 5, 7)).is_none());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(ContextIndex::decode(&damaged).is_none(), "byte {at}");
            assert!(ContextIndex::decode(&bytes[..at]).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn failing_to_save_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let taken = directory.path().join("taken");
        std::fs::create_dir(&taken).unwrap();
        assert!(ContextIndex::default().save(&taken).is_err());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn young_files_are_not_settled() {
        let seen = Time { seconds: 100, nanoseconds: 500_000_000 };
        assert!(state(1, 100, 400_000_000).is_settled(seen));
        assert!(!state(1, 100, 490_000_000).is_settled(seen));
        assert!(!state(1, 200, 1).is_settled(seen));
        assert!(!state(1, 99, 0).is_settled(seen), "whole seconds may hide two changes");
        assert!(state(1, 98, 0).is_settled(seen));
    }
}
