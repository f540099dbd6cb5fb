//! The text of a `.dockerignore` file.

use super::clean;

/// Returns the patterns of an ignore file: comments and blank lines dropped, paths cleaned, the
/// leading slash removed, `!` kept in front.
///
/// A `#` begins a comment only as the very first character of a line.
pub fn parse_ignore_file(text: &[u8]) -> Vec<String> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(str::trim).filter(|line| !line.is_empty()).map(parse_line).collect()
}

fn parse_line(line: &str) -> String {
    let (mark, path) = match line.strip_prefix('!') {
        Some(path) => ("!", path.trim()),
        None => ("", line),
    };
    if path.is_empty() {
        return mark.to_owned();
    }
    let path = clean(path);
    let path = if path.len() > 1 { path.strip_prefix('/').unwrap_or(&path) } else { &path };
    format!("{mark}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[&str]) {
        assert_eq!(parse_ignore_file(text.as_bytes()), expect, "{text:?}");
    }

    // items: X004
    #[test]
    fn reads_the_lines_that_count() {
        check("test1\n/test2\n/a/file/here\n\nlastfile", &["test1", "test2", "a/file/here", "lastfile"]);
        check("# comment\n #not one\na#b", &["#not one", "a#b"]);
        check("! /inverted/abs/path\n!\n! ", &["!inverted/abs/path", "!", "!"]);
        check("\u{feff}a/\r\n  b/../c  \n/", &["a", "c", "/"]);
        check("\u{feff}#x\n./y//z", &["y/z"]);
        check("", &[]);
    }
}
