//! Patterns: `.dockerignore` lists and Go's `filepath.Match`.
//!
//! Both are compiled to a small automaton that is run over the text once, all states in step: time grows with
//! pattern length times text length and with nothing else, whatever the pattern.

mod automaton;
mod glob;
mod ignore;
mod matcher;

pub use glob::{Glob, glob_match};
pub use ignore::parse_ignore_file;
pub use matcher::{Matcher, ParentMatch};

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A lone `!`.
    #[error("illegal exclusion pattern: \"!\"")]
    LoneExclamation,
    /// The syntax is wrong (an open or empty class, a trailing backslash).
    #[error("syntax error in pattern `{0}`")]
    Syntax(String),
}

/// Returns the shortest equal path, as Go's `path.Clean`.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn cleans_as_go_does() {
        let table = [
            ("", "."),
            ("a/", "a"),
            ("a//b/./c", "a/b/c"),
            ("a/../../b", "../b"),
            ("/../a", "/a"),
            ("/", "/"),
            ("./", "."),
            ("a/..", "."),
            ("../..", "../.."),
        ];
        for (path, expect) in table {
            assert_eq!(super::clean(path), expect, "{path}");
        }
    }
}
