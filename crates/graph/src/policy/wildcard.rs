//! Patterns in which a star stands for any text, and templates that use what the stars stood for.

/// Returns what the stars of `pattern` stand for in `text`, preceded by the whole; none if it does not match. Stars
/// take as much as they can, the first one first.
///
/// From the right, each piece is put as far right as it goes: so every star before it is as long as it can be.
pub(super) fn captures<'a>(pattern: &str, text: &'a str) -> Option<Vec<&'a str>> {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let rest = text.strip_prefix(first)?;
    let Some(last) = pieces.next_back() else {
        return rest.is_empty().then(|| vec![text]);
    };
    let mut rest = rest.strip_suffix(last)?;
    let mut found = Vec::new();
    for piece in pieces.rev() {
        let at = rest.rfind(piece)?;
        found.push(&rest[at + piece.len()..]);
        rest = &rest[..at];
    }
    found.push(rest);
    found.push(text);
    found.reverse();
    Some(found)
}

/// Returns `template` with `$1`, `${1}` replaced by groups; names and numbers that are not there are empty, `$$` is a
/// dollar sign, and one that begins nothing stays.
pub(super) fn expand(template: &str, groups: &[&str]) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        match variable(after) {
            Some((name, after)) => {
                let group = name.parse().ok().and_then(|number: usize| groups.get(number));
                out.push_str(group.copied().unwrap_or_default());
                rest = after;
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Splits off a name, in braces or not.
fn variable(text: &str) -> Option<(&str, &str)> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let (name, rest) = match text.strip_prefix('{') {
        Some(braced) => braced.split_once('}')?,
        None => text.split_at(text.bytes().position(|byte| !is_word(byte)).unwrap_or(text.len())),
    };
    (!name.is_empty() && name.bytes().all(is_word)).then_some((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_take_as_much_as_they_can() {
        let check = |pattern: &str, text: &str, expect: Option<&[&str]>| {
            assert_eq!(captures(pattern, text).as_deref(), expect, "{pattern} on {text}");
        };
        check("a", "a", Some(&["a"]));
        check("a", "ab", None);
        check("*", "", Some(&["", ""]));
        check("golang:*", "golang:1.19", Some(&["golang:1.19", "1.19"]));
        check("golang:*", "xgolang:1.19", None);
        check("*/*", "a/b/c", Some(&["a/b/c", "a/b", "c"]));
        check("a*b*c", "abbc", Some(&["abbc", "b", ""]));
        check("ab*ba", "aba", None);
        check("*ab*ab", "abab", Some(&["abab", "", ""]));
        check("*ab*ab", "ab", None);
        check("é*é", "éxé", Some(&["éxé", "x"]));
    }

    #[test]
    fn templates() {
        let check = |template: &str, expect: &str| assert_eq!(expand(template, &["whole", "one", "two"]), expect);
        check("${1}-alpine", "one-alpine");
        check("$1/$2", "one/two");
        check("$1x", "");
        check("$0 $9 ${name}", "whole  ");
        check("$$1 $ ${", "$1 $ ${");
        check("${1", "${1");
        check("${é}", "${é}");
    }
}
