//! Sparse files: which runs of a file the archive holds.

use super::block::{self, Block};
use super::pax::{self, Records};
use super::{BLOCK, MAX_EXTENSION};

/// A run of data in a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where in the file.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// The most segments one file may have.
const MAX_SEGMENTS: usize = MAX_EXTENSION as usize / 16;

/// How the map of a PAX sparse file is stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// In the records (0.0 and 0.1).
    InRecords,
    /// In front of the data (1.0).
    InData,
}

/// Returns how the file of these records is sparse, if it is.
pub(super) fn layout(records: &Records) -> Option<Layout> {
    let get = |key: &[u8]| records.get(key).map_or(&b""[..], Vec::as_slice);
    match (get(b"GNU.sparse.major"), get(b"GNU.sparse.minor")) {
        (b"0", b"0" | b"1") => Some(Layout::InRecords),
        (b"1", b"0") => Some(Layout::InData),
        (b"", b"") if !get(pax::SPARSE_MAP).is_empty() => Some(Layout::InRecords),
        _ => None,
    }
}

/// Returns the map that the records of format 0.1 hold.
pub(super) fn map_in_records(records: &Records) -> Result<Vec<Segment>, &'static str> {
    let number = |text: &[u8]| pax::integer(text).and_then(|n| u64::try_from(n).ok());
    let count = records.get(&b"GNU.sparse.numblocks"[..]).and_then(|text| number(text));
    let count = count.ok_or("a sparse file without a count of its segments")?;
    let map = records.get(pax::SPARSE_MAP).map_or(&b""[..], Vec::as_slice);
    let numbers: Option<Vec<u64>> = match map {
        b"" => Some(Vec::new()),
        map => map.split(|b| *b == b',').map(number).collect(),
    };
    let numbers = numbers.ok_or("a sparse map with something that is no number")?;
    if count.checked_mul(2) != Some(numbers.len() as u64) {
        return Err("a sparse map of another length than its count");
    }
    Ok(pairs(&numbers))
}

/// Gathers the map of format 1.0, decimal numbers on lines in the first blocks of the data.
#[derive(Debug, Default)]
pub(super) struct DataMap {
    text: Vec<u8>,
    lines: usize,
}

impl DataMap {
    /// Takes a block; returns whether the map is complete.
    pub(super) fn push(&mut self, block: &Block) -> Result<bool, &'static str> {
        if self.text.len() as u64 + BLOCK as u64 > MAX_EXTENSION {
            return Err("a sparse map of more than 1 MiB");
        }
        self.lines += block.iter().filter(|b| **b == b'\n').count();
        self.text.extend_from_slice(block);
        Ok(match self.count()? {
            Some(count) => self.lines > 2 * count,
            None => false,
        })
    }

    fn count(&self) -> Result<Option<usize>, &'static str> {
        const BAD: &str = "a sparse map with a bad count";
        let Some(end) = self.text.iter().position(|b| *b == b'\n') else {
            return if self.text.len() > BLOCK { Err(BAD) } else { Ok(None) };
        };
        let count = pax::integer(&self.text[..end]).and_then(|n| usize::try_from(n).ok()).ok_or(BAD)?;
        if count > MAX_SEGMENTS { Err("a sparse map of too many segments") } else { Ok(Some(count)) }
    }

    /// Returns the complete map.
    pub(super) fn finish(self) -> Result<Vec<Segment>, &'static str> {
        let count = self.count()?.ok_or("a sparse map without a count")?;
        let lines = self.text.split(|b| *b == b'\n').skip(1).take(2 * count);
        let numbers: Option<Vec<u64>> = lines.map(|l| pax::integer(l).and_then(|n| u64::try_from(n).ok())).collect();
        let numbers = numbers.filter(|numbers| numbers.len() == 2 * count);
        Ok(pairs(&numbers.ok_or("a sparse map with something that is no number")?))
    }
}

fn pairs(numbers: &[u64]) -> Vec<Segment> {
    numbers.chunks_exact(2).map(|pair| Segment { offset: pair[0], length: pair[1] }).collect()
}

/// Gathers the map of GNU's own format: some segments in the header, more in extension blocks.
#[derive(Debug, Default)]
pub(super) struct GnuMap {
    segments: Vec<Segment>,
}

impl GnuMap {
    /// Takes the header block; returns the real size and whether an extension block follows.
    pub(super) fn header(&mut self, block: &Block) -> Result<(u64, bool), &'static str> {
        let size = block::number(&block[block::GNU_REAL_SIZE]).and_then(|n| u64::try_from(n).ok());
        let size = size.ok_or("a sparse file with a bad size")?;
        self.take(&block[block::GNU_SPARSE])?;
        Ok((size, block[block::GNU_EXTENDED] != 0))
    }

    /// Takes an extension block; returns whether another follows.
    pub(super) fn extension(&mut self, block: &Block) -> Result<bool, &'static str> {
        self.take(&block[block::EXTENSION_SPARSE])?;
        if self.segments.len() > MAX_SEGMENTS {
            return Err("a sparse map of too many segments");
        }
        Ok(block[block::EXTENSION_EXTENDED] != 0)
    }

    fn take(&mut self, entries: &[u8]) -> Result<(), &'static str> {
        for entry in entries.chunks_exact(24) {
            if entry[0] == 0 {
                break;
            }
            let number = |field: &[u8]| block::number(field).and_then(|n| u64::try_from(n).ok());
            let (Some(offset), Some(length)) = (number(&entry[..12]), number(&entry[12..])) else {
                return Err("a sparse map with something that is no number");
            };
            self.segments.push(Segment { offset, length });
        }
        Ok(())
    }

    /// Returns the segments.
    pub(super) fn finish(self) -> Vec<Segment> {
        self.segments
    }
}

/// Checks that segments are in order, inside the file, and take exactly the data there is.
pub(super) fn validate(segments: &[Segment], size: u64, data: u64) -> Result<(), &'static str> {
    let mut end = 0;
    let mut total = 0_u64;
    for segment in segments {
        let next = segment.offset.checked_add(segment.length).ok_or("a sparse segment beyond all files")?;
        if segment.offset < end || next > size {
            return Err("sparse segments that overlap or leave the file");
        }
        end = next;
        total += segment.length;
    }
    if total == data { Ok(()) } else { Err("a sparse map that does not fit the data") }
}
