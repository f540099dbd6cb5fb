//! Go's `filepath.Match`.

use super::PatternError;
use super::automaton::{Automaton, Cursor, Scratch, Token};

/// A compiled pattern of `filepath.Match`: `*`, `?`, `[a-z]`, `[^a]` and `\` for what is meant literally.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Automaton);

impl Glob {
    /// Compiles `pattern`.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let mut cursor = Cursor::new(pattern);
        let mut tokens = Vec::new();
        while let Some(ch) = cursor.next() {
            let token = match ch {
                '*' => Token::Star,
                '?' => Token::Any,
                '[' => cursor.class()?,
                '\\' => Token::Char(cursor.escaped()?),
                ch => Token::Char(ch),
            };
            if !(token == Token::Star && tokens.last() == Some(&Token::Star)) {
                tokens.push(token);
            }
        }
        Ok(Self(Automaton::new(tokens)))
    }

    /// Returns whether the whole of `name` matches.
    pub fn matches(&self, name: &[u8]) -> bool {
        self.0.matches(name, &mut Scratch::default())
    }
}

/// Returns whether `pattern` matches the whole of `name`, as Go's `filepath.Match`.
pub fn glob_match(pattern: &str, name: &[u8]) -> Result<bool, PatternError> {
    Ok(Glob::new(pattern)?.matches(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, name: &str, expect: Option<bool>) {
        assert_eq!(glob_match(pattern, name.as_bytes()).ok(), expect, "{pattern} on {name}");
    }

    // items: C009
    #[test]
    fn follows_filepath_match() {
        let table = [
            ("abc", "abc", Some(true)),
            ("*", "abc", Some(true)),
            ("*c", "abc", Some(true)),
            ("a*", "a", Some(true)),
            ("a*", "ab/c", Some(false)),
            ("a*/b", "abc/b", Some(true)),
            ("a*/b", "a/c/b", Some(false)),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", Some(true)),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", Some(false)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
            ("a*b?c*x", "abxbbxdbxebxczzy", Some(false)),
            ("ab[c]", "abc", Some(true)),
            ("ab[b-d]", "abc", Some(true)),
            ("ab[e-g]", "abc", Some(false)),
            ("ab[^c]", "abc", Some(false)),
            ("ab[^e-g]", "abc", Some(true)),
            ("a\\*b", "a*b", Some(true)),
            ("a\\*b", "ab", Some(false)),
            ("a?b", "a☺b", Some(true)),
            ("a[^a]b", "a☺b", Some(true)),
            ("a???b", "a☺b", Some(false)),
            ("[a-ζ]*", "α", Some(true)),
            ("a?b", "a/b", Some(false)),
            ("[\\]a]", "]", Some(true)),
            ("[\\-x]", "-", Some(true)),
            ("[x\\-]", "z", Some(false)),
            ("[]a]", "]", None),
            ("[-]", "-", None),
            ("[x-]", "x", None),
            ("[a-b-c]", "a", None),
            ("[", "a", None),
            ("[^", "a", None),
            ("[^bc", "a", None),
            ("a[", "a", None),
            ("a[", "ab", None),
            ("a\\", "a", None),
            ("*x", "xxx", Some(true)),
        ];
        for (pattern, name, expect) in table {
            check(pattern, name, expect);
        }
    }

    #[test]
    fn names_that_are_not_text_match_by_bytes() {
        assert_eq!(glob_match("a?b", b"a\xffb"), Ok(true));
        assert_eq!(glob_match("a*", b"a\xff\xfe"), Ok(true));
    }

    #[test]
    fn many_stars_take_linear_time() {
        let pattern = "a*".repeat(200) + "b";
        let name = "a".repeat(4000);
        let start = std::time::Instant::now();
        check(&pattern, &name, Some(false));
        assert!(start.elapsed().as_secs() < 2);
    }
}
