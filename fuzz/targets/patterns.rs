//! Any ignore file on any path, beside a matcher that is slow and plain.
//!
//! The input is the ignore file, a NUL, the path.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use rbuild_tree::pattern::{Matcher, ParentMatch, glob_match, parse_ignore_file};

/// Longer ones are matched, but not compared.
const COMPARED: usize = 200;

fuzz_target!(|bytes: &[u8]| {
    let at = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (file, path) = (&bytes[..at], bytes.get(at + 1..).unwrap_or_default());
    let patterns = parse_ignore_file(file);
    assert!(patterns.iter().all(|pattern| !pattern.is_empty()));
    for pattern in patterns.iter().take(8) {
        one(pattern, path);
    }
    list(&patterns, path);
});

/// A single pattern of `filepath.Match`.
fn one(pattern: &str, name: &[u8]) {
    let Ok(matched) = glob_match(pattern, name) else { return };
    if let (Ok(name), true) = (std::str::from_utf8(name), pattern.len() + name.len() < COMPARED) {
        assert_eq!(matched, naive(&compile(pattern, false), name), "{pattern:?} on {name:?}");
    }
}

fn list(patterns: &[String], path: &[u8]) {
    let Ok(matcher) = Matcher::new(patterns) else { return };
    let as_path = |bytes| Path::new(OsStr::from_bytes(bytes));
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let ends: Vec<usize> = ends.chain([path.len()]).collect();
    let mut walked = ParentMatch::default();
    let mut inherited = vec![false; patterns.len()];
    let mut pruned = false;
    let size: usize = patterns.iter().map(String::len).sum();
    let compared = size + path.len() < COMPARED && patterns.iter().all(|pattern| settled(pattern));
    for end in ends {
        let name = &path[..end];
        let (matched, below) = matcher.matches_below(as_path(name), &walked);
        walked = below;
        if end == path.len() {
            assert_eq!(matched, matcher.matches(as_path(name)), "a walk and a look agree on {name:?}");
        }
        assert!(matched || !pruned, "nothing below a pruned directory is taken back: {name:?}");
        pruned |= matched && matcher.prunes(as_path(name));
        if let (Ok(name), true) = (std::str::from_utf8(name), compared) {
            assert_eq!(matched, naive_list(patterns, name, &mut inherited), "{patterns:?} on {name:?}");
        }
    }
}

/// Whether a pattern stays as it is when it is trimmed and cleaned again.
fn settled(pattern: &str) -> bool {
    let mut parts = pattern.split('/').skip_while(|part| *part == "..");
    pattern.trim() == pattern && parts.all(|part| !matches!(part, "" | "." | ".."))
}

/// The last pattern that matches a path or its parent wins; one that could change nothing is not asked.
fn naive_list(patterns: &[String], name: &str, inherited: &mut [bool]) -> bool {
    let mut matched = false;
    for (pattern, own) in patterns.iter().zip(inherited) {
        let (negated, pattern) = pattern.strip_prefix('!').map_or((false, pattern.as_str()), |rest| (true, rest));
        if !*own && negated != matched {
            continue;
        }
        *own = *own || whole(pattern, name);
        if *own {
            matched = !negated;
        }
    }
    matched
}

fn whole(pattern: &str, name: &str) -> bool {
    // A trailing `**` after plain text is a prefix, a leading one before plain text a suffix, whatever lies between.
    let plain = |text: &str| !text.contains(['*', '?', '[', ']', '\\']);
    match (pattern.strip_prefix("**"), pattern.strip_suffix("**")) {
        (Some(suffix), _) if plain(suffix) => name.ends_with(suffix) || suffix.strip_prefix('/') == Some(name),
        (_, Some(prefix)) if plain(prefix) => name.starts_with(prefix),
        _ => naive(&compile(pattern, true), name),
    }
}

enum Piece {
    One(Box<dyn Fn(char) -> bool>),
    /// Any number of these characters.
    Many(Box<dyn Fn(char) -> bool>),
    /// Nothing, or anything that ends in a slash.
    Directories,
}

/// Reads a pattern that is known to be right.
fn compile(pattern: &str, deep: bool) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        pieces.push(match c {
            '*' if deep && rest.next_if_eq(&'*').is_some() => {
                rest.next_if_eq(&'/');
                if rest.peek().is_none() { Piece::Many(Box::new(|c| c != '\n')) } else { Piece::Directories }
            }
            '*' => Piece::Many(Box::new(|c| c != '/')),
            '?' => Piece::One(Box::new(|c| c != '/')),
            '\\' => {
                let wanted = rest.next().expect("something is escaped");
                Piece::One(Box::new(move |c| c == wanted))
            }
            '[' => Piece::One(class(&mut rest)),
            wanted => Piece::One(Box::new(move |c| c == wanted)),
        });
    }
    pieces
}

fn class(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Box<dyn Fn(char) -> bool> {
    let negated = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    let one = |rest: &mut std::iter::Peekable<std::str::Chars<'_>>| match rest.next() {
        Some('\\') => rest.next().expect("something is escaped"),
        other => other.expect("a class is closed"),
    };
    while ranges.is_empty() || rest.next_if_eq(&']').is_none() {
        let low = one(rest);
        let high = if rest.next_if_eq(&'-').is_some() { one(rest) } else { low };
        ranges.push(low..=high);
    }
    Box::new(move |c| ranges.iter().any(|range| range.contains(&c)) != negated)
}

/// Fills a table of which beginnings of the name match which beginnings of the pattern.
fn naive(pieces: &[Piece], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let mut row = vec![false; name.len() + 1];
    row[0] = true;
    for piece in pieces {
        let mut next = vec![false; name.len() + 1];
        for start in (0..=name.len()).filter(|start| row[*start]) {
            match piece {
                Piece::One(fits) => {
                    if name.get(start).is_some_and(|c| fits(*c)) {
                        next[start + 1] = true;
                    }
                }
                Piece::Many(fits) => {
                    let run = name[start..].iter().take_while(|c| fits(**c)).count();
                    next[start..=start + run].fill(true);
                }
                Piece::Directories => {
                    next[start] = true;
                    let line = name[start..].iter().take_while(|c| **c != '\n').count();
                    (start..start + line).filter(|at| name[*at] == '/').for_each(|at| next[at + 1] = true);
                }
            }
        }
        row = next;
    }
    row[name.len()]
}
