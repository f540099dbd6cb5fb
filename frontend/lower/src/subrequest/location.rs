//! Places as BuildKit's JSON has them: a range for each line, without columns.

use rbuild_dockerfile::Lines;
use serde::Serialize;

/// `pb.Location`; the one source there is has the index zero, which is left out.
#[derive(Debug, Serialize)]
pub(super) struct Location {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ranges: Vec<Range>,
}

#[derive(Debug, Serialize)]
struct Range {
    start: Position,
    end: Position,
}

#[derive(Debug, Serialize)]
struct Position {
    line: u32,
}

impl Location {
    /// Returns the location of all `lines`, in the order of the file.
    pub(super) fn of(lines: &[Lines]) -> Self {
        let mut numbers: Vec<u32> = lines.iter().flat_map(|lines| lines.start..=lines.end.max(lines.start)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let range = |line| Range { start: Position { line }, end: Position { line } };
        Self { ranges: numbers.into_iter().map(range).collect() }
    }
}

impl From<Lines> for Location {
    fn from(lines: Lines) -> Self {
        Self::of(&[lines])
    }
}

/// Returns bytes as JSON has them.
pub(super) fn base64(text: &str) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text)
}
