//! A list of patterns where the last match wins.
use super::PatternError;
use std::path::Path;

/// A compiled list of patterns with moby/patternmatcher's meaning.
#[derive(Debug, Clone, Default)]
pub struct Matcher {}

/// What each pattern said about a parent directory, carried down a walk.
#[derive(Debug, Clone, Default)]
pub struct ParentMatch {}

impl Matcher {
    /// Compiles `patterns`; blank ones are skipped.
    pub fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Self, PatternError> {
        let _ = patterns;
        unimplemented!()
    }

    /// Returns whether there is no pattern at all.
    pub fn is_empty(&self) -> bool {
        unimplemented!()
    }

    /// Returns whether `path` (relative) or one of its parents matches, the last match winning.
    pub fn matches(&self, path: &Path) -> bool {
        let _ = path;
        unimplemented!()
    }

    /// Returns the same as [`Self::matches`], given what was found for the parent directory.
    pub fn matches_below(&self, path: &Path, parent: &ParentMatch) -> (bool, ParentMatch) {
        let _ = (path, parent);
        unimplemented!()
    }

    /// Returns whether nothing below the matched directory `path` can be re-included.
    pub fn prunes(&self, path: &Path) -> bool {
        let _ = path;
        unimplemented!()
    }
}
