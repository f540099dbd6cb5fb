//! Patterns: `.dockerignore` lists and Go's `filepath.Match`.

mod glob;
mod ignore;
mod matcher;

pub use glob::glob_match;
pub use ignore::parse_ignore_file;
pub use matcher::{Matcher, ParentMatch};

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A lone `!`.
    #[error("illegal exclusion pattern: \"!\"")]
    LoneExclamation,
    /// The syntax is wrong (an open class, a trailing backslash).
    #[error("syntax error in pattern `{0}`")]
    Syntax(String),
}
