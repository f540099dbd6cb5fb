//! Header blocks.
//!
//! ```text
//!   0 name 100 | 100 mode 8 | 108 uid 8 | 116 gid 8 | 124 size 12 | 136 mtime 12 | 148 checksum 8
//! 156 type 1 | 157 link name 100 | 257 magic 6 | 263 version 2 | 265 user 32 | 297 group 32
//! 329 major 8 | 337 minor 8 | 345 prefix 155 (star: 131; GNU: sparse map from 386) | 500
//! ```

use std::ops::Range;

use super::BLOCK;

pub(super) const NAME: Range<usize> = 0..100;
pub(super) const MODE: Range<usize> = 100..108;
pub(super) const UID: Range<usize> = 108..116;
pub(super) const GID: Range<usize> = 116..124;
pub(super) const SIZE: Range<usize> = 124..136;
pub(super) const MTIME: Range<usize> = 136..148;
pub(super) const CHECKSUM: Range<usize> = 148..156;
pub(super) const TYPE: usize = 156;
pub(super) const LINK_NAME: Range<usize> = 157..257;
pub(super) const MAGIC: Range<usize> = 257..265;
pub(super) const MAJOR: Range<usize> = 329..337;
pub(super) const MINOR: Range<usize> = 337..345;
pub(super) const PREFIX: Range<usize> = 345..500;
const STAR_PREFIX: Range<usize> = 345..476;
const STAR_TRAILER: Range<usize> = 508..512;
/// Four sparse segments of 24 bytes, a flag, the real size.
pub(super) const GNU_SPARSE: Range<usize> = 386..482;
pub(super) const GNU_EXTENDED: usize = 482;
pub(super) const GNU_REAL_SIZE: Range<usize> = 483..495;
/// In an extension block: 21 segments, a flag.
pub(super) const EXTENSION_SPARSE: Range<usize> = 0..504;
pub(super) const EXTENSION_EXTENDED: usize = 504;

/// One block of a tar.
pub(super) type Block = [u8; BLOCK];

/// Whose header a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Before POSIX: no magic.
    V7,
    /// POSIX ustar or PAX.
    Ustar,
    /// Schily's star: a shorter prefix.
    Star,
    /// GNU.
    Gnu,
}

/// Returns the dialect of a header block, or none if its checksum is wrong.
pub(super) fn dialect(block: &Block) -> Option<Dialect> {
    let stored = octal(&block[CHECKSUM])?;
    let outside = block[..CHECKSUM.start].iter().chain(&block[CHECKSUM.end..]);
    let blanks = 8 * u64::from(b' ');
    let unsigned = outside.clone().map(|b| u64::from(*b)).sum::<u64>() + blanks;
    // Some writers of old summed signed bytes.
    let signed = outside.map(|b| i64::from(b.cast_signed())).sum::<i64>() + blanks.cast_signed();
    if stored != unsigned && stored.cast_signed() != signed {
        return None;
    }
    let magic = &block[MAGIC];
    Some(match magic {
        _ if magic.starts_with(b"ustar\0") && &block[STAR_TRAILER] == b"tar\0" => Dialect::Star,
        _ if magic.starts_with(b"ustar\0") => Dialect::Ustar,
        b"ustar  \0" => Dialect::Gnu,
        _ => Dialect::V7,
    })
}

/// Returns a text field up to its first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

/// Returns the name of a header block with its prefix, if the dialect has one.
pub(super) fn name(block: &Block, dialect: Dialect) -> Vec<u8> {
    let prefix = match dialect {
        Dialect::Ustar => text(&block[PREFIX]),
        Dialect::Star => text(&block[STAR_PREFIX]),
        Dialect::V7 | Dialect::Gnu => b"",
    };
    let mut name = prefix.to_vec();
    if !prefix.is_empty() {
        name.push(b'/');
    }
    name.extend_from_slice(text(&block[NAME]));
    name
}

/// Returns a number field: octal digits between blanks, or base 256 if the first bit is set.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    if field.first().is_some_and(|b| b & 0x80 != 0) {
        return base256(field);
    }
    // Digits beyond 63 bits wrap to negative, which every user of a number refuses.
    octal(field).map(u64::cast_signed)
}

fn base256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let invert = if negative { 0xff } else { 0 };
    let mut value = 0_u64;
    for (index, byte) in field.iter().enumerate() {
        let mut byte = byte ^ invert;
        if index == 0 {
            byte &= 0x7f;
        }
        if value >> 56 != 0 {
            return None;
        }
        value = value << 8 | u64::from(byte);
    }
    let value = i64::try_from(value).ok()?;
    Some(if negative { !value } else { value })
}

fn octal(field: &[u8]) -> Option<u64> {
    let is_blank = |b: &u8| *b == b' ' || *b == 0;
    let start = field.iter().position(|b| !is_blank(b)).unwrap_or(field.len());
    let end = field.iter().rposition(|b| !is_blank(b)).map_or(start, |last| last + 1);
    let digits = text(&field[start..end]);
    digits.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'7' if value >> 61 == 0 => Some(value << 3 | u64::from(digit - b'0')),
        _ => None,
    })
}

/// Writes text into a field, cut to its length.
pub(super) fn put_text(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
    // A cut that ends in a slash would make a file look like a directory to readers of old.
    if text.len() > field.len() && field[field.len() - 1] == b'/' {
        let end = field.iter().rposition(|b| *b != b'/').map_or(0, |last| last + 1);
        field[end] = 0;
    }
}

/// Returns whether a value can stand in an octal field of `width` bytes.
pub(super) fn fits_octal(width: usize, value: i64) -> bool {
    let bits = 3 * (width - 1);
    value >= 0 && (bits >= 63 || value < 1 << bits)
}

/// Writes a number with leading zeros and a closing NUL; zero if it does not fit.
pub(super) fn put_octal(field: &mut [u8], value: i64) {
    let mut rest = if fits_octal(field.len(), value) { value.cast_unsigned() } else { 0 };
    let (last, digits) = field.split_last_mut().expect("number fields are not empty");
    *last = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
}

/// Closes a block with ustar magic and checksum.
pub(super) fn seal(block: &mut Block) {
    block[MAGIC].copy_from_slice(b"ustar\x0000");
    block[CHECKSUM].fill(b' ');
    let sum = block.iter().map(|b| i64::from(*b)).sum();
    put_octal(&mut block[CHECKSUM.start..CHECKSUM.end - 1], sum);
    block[CHECKSUM.end - 1] = b' ';
}
