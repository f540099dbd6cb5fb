//! Diagnostics to text.
use crate::Diagnostic;
/// Tells whether `c` could change a terminal or mislead a reader if printed as it is.
pub fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
/// Writes a diagnostic with the source lines it speaks of.
pub fn render(_diagnostic: &Diagnostic, _file: &str, _source: &str, _color: bool) -> String {
    unreachable!("being written")
}
/// Returns the excerpt in BuildKit's form (`Dockerfile:3`, `>>>` in front of the lines meant).
pub fn excerpt(_file: &str, _source: &str, _lines: &[crate::Lines]) -> String {
    unreachable!("being written")
}
