//! What steps write: cut into lines, limited in size and rate, the last lines kept.

use std::collections::VecDeque;
use std::time::SystemTime;

use crate::text::between;

/// Longest piece of a line that is kept together.
const MOST_LINE: usize = 16 << 10;
/// Lines kept for the case that the step fails.
const TAIL: usize = 20;

/// How much of a step's output is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes in all; none for no limit.
    pub size: Option<u64>,
    /// Bytes a second; none for no limit.
    pub rate: Option<u64>,
}

impl Default for LogLimits {
    /// BuildKit's limits: 2 MiB, 200 KiB a second.
    fn default() -> Self {
        Self { size: Some(2 << 20), rate: Some(200 << 10) }
    }
}

/// Cuts bytes into lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes bytes; gives each line that is complete, without its end.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut take: impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            self.hold(line, &mut take);
            take(&self.partial);
            self.partial.clear();
        }
        self.hold(bytes, &mut take);
    }

    /// Returns what came after the last complete line.
    pub(crate) fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// Gives up what came after the last complete line.
    pub(crate) fn end(&mut self, take: impl FnOnce(&[u8])) {
        if !self.partial.is_empty() {
            take(&self.partial);
            self.partial.clear();
        }
    }

    /// Adds to the line under way; a line of any length takes bounded memory.
    fn hold(&mut self, mut bytes: &[u8], take: &mut impl FnMut(&[u8])) {
        while self.partial.len() + bytes.len() > MOST_LINE {
            let (fits, rest) = bytes.split_at(MOST_LINE - self.partial.len());
            self.partial.extend_from_slice(fits);
            take(&self.partial);
            self.partial.clear();
            bytes = rest;
        }
        self.partial.extend_from_slice(bytes);
    }
}

/// The last lines of a step, whatever else was clipped.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail {
    lines: Lines,
    kept: VecDeque<(SystemTime, Vec<u8>)>,
}

impl Tail {
    pub(crate) fn push(&mut self, bytes: &[u8], at: SystemTime) {
        let kept = &mut self.kept;
        self.lines.push(bytes, |line| {
            if kept.len() == TAIL {
                kept.pop_front();
            }
            kept.push_back((at, line.to_vec()));
        });
    }

    /// Returns the last `most` lines, the unfinished one included.
    pub(crate) fn last(&self, most: usize) -> impl Iterator<Item = &[u8]> {
        let partial = Some(self.lines.partial()).filter(|partial| !partial.is_empty());
        let all = self.kept.iter().map(|(_, line)| line.as_slice()).chain(partial);
        let count = self.kept.len() + usize::from(partial.is_some());
        all.skip(count.saturating_sub(most))
    }

    /// Returns all lines kept and when they came.
    pub(crate) fn stamped(&self) -> Vec<(SystemTime, &[u8])> {
        let mut all: Vec<_> = self.kept.iter().map(|(at, line)| (*at, line.as_slice())).collect();
        if !self.lines.partial().is_empty() {
            let at = all.last().map_or(SystemTime::UNIX_EPOCH, |(at, _)| *at);
            all.push((at, self.lines.partial()));
        }
        all
    }
}

/// Lets through as much of a step's output as the limits allow, and says where it does not.
#[derive(Debug, Clone)]
pub(crate) struct Clip {
    limits: LogLimits,
    passed: u64,
    /// Bytes that may pass at once.
    allowance: u64,
    since: Option<SystemTime>,
    clipping: bool,
    full: bool,
}

impl Clip {
    pub(crate) fn new(limits: LogLimits) -> Self {
        let allowance = limits.rate.unwrap_or(0);
        Self { limits, passed: 0, allowance, since: None, clipping: false, full: false }
    }

    /// Returns the bytes that may be shown, with a note where some are missing.
    pub(crate) fn pass(&mut self, bytes: &[u8], now: SystemTime) -> Vec<u8> {
        if self.full {
            return Vec::new();
        }
        let rated = self.limits.rate.map_or(bytes.len(), |rate| self.refill(rate, now).min(bytes.len()));
        let left = self.limits.size.map_or(u64::MAX, |size| size.saturating_sub(self.passed));
        let sized = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let count = rated.min(sized);
        self.passed += count as u64;
        self.allowance = self.allowance.saturating_sub(count as u64);
        let mut shown = bytes[..count].to_vec();
        if sized < bytes.len() && sized <= rated {
            self.full = true;
            let limit = self.limits.size.unwrap_or_default();
            shown.extend_from_slice(&note(&format!("{} reached", size(limit))));
        } else if count < bytes.len() {
            if !self.clipping {
                let limit = self.limits.rate.unwrap_or_default();
                shown.extend_from_slice(&note(&format!("{}/s reached", size(limit))));
            }
            self.clipping = true;
        } else {
            self.clipping = false;
        }
        shown
    }

    fn refill(&mut self, rate: u64, now: SystemTime) -> usize {
        let elapsed = self.since.map_or(0.0, |since| between(since, now).as_secs_f64());
        self.since = Some(now);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            clippy::cast_possible_truncation,
            reason = "a rate"
        )]
        let fresh = (rate as f64 * elapsed.min(1.0)) as u64;
        self.allowance = (self.allowance + fresh).min(rate);
        usize::try_from(self.allowance).unwrap_or(usize::MAX)
    }
}

fn note(limit: &str) -> Vec<u8> {
    format!("\n[output clipped, log limit {limit}]\n").into_bytes()
}

fn size(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 1 << 20 && bytes % (1 << 20) == 0 => format!("{}MiB", bytes >> 20),
        bytes if bytes >= 1 << 10 && bytes % (1 << 10) == 0 => format!("{}KiB", bytes >> 10),
        bytes => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cut(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<u8>) {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.push(piece, |line| found.push(line.to_vec()));
        }
        (found, lines.partial().to_vec())
    }

    #[test]
    fn lines_are_cut_wherever_pieces_end() {
        let (found, rest) = cut(&[b"a\nb", b"c\n", b"\nd"]);
        assert_eq!(found, [b"a".to_vec(), b"bc".to_vec(), b"".to_vec()]);
        assert_eq!(rest, b"d");
        let (found, rest) = cut(&[&vec![b'x'; 100_000], b"\n"]);
        assert!(found.iter().all(|line| line.len() <= MOST_LINE) && rest.is_empty());
        assert_eq!(found.iter().map(Vec::len).sum::<usize>(), 100_000);
    }

    #[test]
    fn the_tail_is_what_came_last() {
        let mut tail = Tail::default();
        for n in 0..100 {
            tail.push(format!("{n}\n").as_bytes(), SystemTime::UNIX_EPOCH);
        }
        tail.push(b"end", SystemTime::UNIX_EPOCH);
        assert_eq!(tail.last(3).collect::<Vec<_>>(), [b"98".as_slice(), b"99", b"end"]);
        assert_eq!(tail.stamped().len(), TAIL + 1);
    }

    #[test]
    fn output_is_clipped_with_a_note() {
        let at = |ms: u64| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        let text =
            |clip: &mut Clip, count: usize, ms: u64| String::from_utf8(clip.pass(&vec![b'x'; count], at(ms))).unwrap();
        let mut sized = Clip::new(LogLimits { size: Some(2048), rate: None });
        assert_eq!(text(&mut sized, 2000, 0).len(), 2000);
        let clipped = text(&mut sized, 100, 0);
        assert_eq!(clipped, format!("{}\n[output clipped, log limit 2KiB reached]\n", "x".repeat(48)));
        assert_eq!(text(&mut sized, 100, 0), "");
        let mut rated = Clip::new(LogLimits { size: None, rate: Some(1024) });
        assert!(text(&mut rated, 2000, 0).ends_with("[output clipped, log limit 1KiB/s reached]\n"));
        assert_eq!(text(&mut rated, 100, 0), "");
        assert_eq!(text(&mut rated, 100, 500).len(), 100);
        assert_eq!(text(&mut rated, 100, 900).len(), 100);
    }
}
