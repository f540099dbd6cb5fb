//! The name that a downloaded file gets.

/// What a file without a usable name is called.
const UNNAMED: &str = "download";

/// Returns `name` as one component of a path that is safe in a layer.
pub(in crate::source) fn safe(name: &str) -> String {
    let last = name.trim().rsplit('/').find(|part| !part.is_empty()).unwrap_or_default();
    let control = last.chars().any(char::is_control);
    // In a layer, names that begin so remove other files.
    if matches!(last, "" | "." | "..") || control || last.starts_with(".wh.") || last.len() > 255 {
        return UNNAMED.to_owned();
    }
    last.to_owned()
}

/// Returns the file name of a `Content-Disposition` header.
pub(super) fn disposition(header: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    while !rest.trim().is_empty() {
        let (key, after) = rest.split_once('=')?;
        let (value, next) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let (value, next) = after.split_once(';').unwrap_or((after, ""));
                (value.trim().to_owned(), next)
            }
        };
        if key.trim().eq_ignore_ascii_case("filename") {
            return Some(value).filter(|value| !value.is_empty() && !value.ends_with('/'));
        }
        rest = next;
    }
    None
}

/// Reads to the closing quote; returns the text and what follows the next semicolon.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                let rest = &text[at + 1..];
                return Some((value, rest.split_once(';').map_or("", |(_, next)| next)));
            }
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// X51
    #[test]
    fn names_are_one_component() {
        for (name, expect) in [
            ("a.tar", "a.tar"),
            ("/etc/passwd", "passwd"),
            ("../../x", "x"),
            ("..", "download"),
            ("", "download"),
            ("dir/", "dir"),
            ("a\nb", "download"),
            (".wh..wh..opq", "download"),
        ] {
            assert_eq!(safe(name), expect, "{name:?}");
        }
    }

    /// D003
    #[test]
    fn dispositions() {
        for (header, expect) in [
            ("attachment; filename=foo.txt", Some("foo.txt")),
            ("attachment; size=\"1;2\"; FileName=\"a \\\"b\\\".txt\"", Some("a \"b\".txt")),
            ("attachment; filename=\"../../etc/passwd\"", Some("../../etc/passwd")),
            ("attachment; filename=dir/", None),
            ("attachment", None),
            ("attachment; filename=\"open", None),
        ] {
            assert_eq!(disposition(header).as_deref(), expect, "{header}");
        }
    }
}
