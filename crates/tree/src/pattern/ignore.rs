//! The text of a `.dockerignore` file.

/// Returns the patterns of an ignore file: comments and blank lines dropped, paths cleaned, the
/// leading slash removed, `!` kept in front.
pub fn parse_ignore_file(text: &[u8]) -> Vec<String> {
    let _ = text;
    unimplemented!()
}
