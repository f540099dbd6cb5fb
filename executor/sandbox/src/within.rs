//! Paths that an image or its author wrote, as runtimes understand them.

use std::path::{Component, Path, PathBuf};

/// Returns `path` from the root, where `..` stays at the root: what `WORKDIR /../x` means.
pub fn within_root(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => _ = clean.pop(),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    /// X64: an image may name `/../x` as its working directory.
    #[test]
    fn paths_do_not_climb() {
        for (given, expected) in [("", "/"), ("/a/b", "/a/b"), ("/../../a/./b/../c", "/a/c"), ("a", "/a"), ("/..", "/")]
        {
            assert_eq!(within_root(Path::new(given)), Path::new(expected), "{given}");
        }
    }
}
