use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;
use crate::context::{ContextIndex, scan};

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        let scratch = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(scratch.at("d/e")).unwrap();
        fs::write(scratch.at("d/e/f"), "f").unwrap();
        fs::write(scratch.at("d/g"), "g").unwrap();
        fs::write(scratch.at("top"), "top").unwrap();
        symlink("d/g", scratch.at("link")).unwrap();
        scratch
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn digest(&self, path: &str) -> Digest {
        let tree = scan(self.0.path(), &Matcher::default(), ContextIndex::default(), 1).unwrap();
        digest(&tree, &[Selection::new(path)], Owner::Root).unwrap()
    }

    /// Says whether `change` changes the digest of `path`.
    fn check(path: &str, changes: bool, change: impl Fn(&Self)) {
        let scratch = Self::new();
        let before = scratch.digest(path);
        change(&scratch);
        assert_eq!(scratch.digest(path) != before, changes, "{path}");
    }
}

// items: K005 K006 K007
#[test]
fn what_counts_and_what_does_not() {
    let write = |path: &'static str| move |s: &Scratch| fs::write(s.at(path), "other").unwrap();
    Scratch::check("d", true, write("d/e/f"));
    Scratch::check("d", true, write("d/new"));
    Scratch::check("d", false, write("top"));
    Scratch::check(".", true, write("top"));
    Scratch::check("link", true, write("d/g"));
    Scratch::check("d/*", true, write("d/g"));
    Scratch::check("t*", false, write("d/g"));
    let touch = |s: &Scratch| {
        let file = fs::File::options().write(true).open(s.at("d/g")).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    };
    Scratch::check("d", false, touch);
    let mode = |s: &Scratch| fs::set_permissions(s.at("d/g"), fs::Permissions::from_mode(0o755)).unwrap();
    Scratch::check("d", true, mode);
    Scratch::check("d", true, |s| fs::rename(s.at("d/g"), s.at("d/h")).unwrap());
    Scratch::check("t*", true, |s| fs::rename(s.at("top"), s.at("toq")).unwrap());
    let relink = |s: &Scratch| {
        fs::remove_file(s.at("link")).unwrap();
        symlink("top", s.at("link")).unwrap();
    };
    Scratch::check(".", true, relink);
    Scratch::check("link", true, relink);
    Scratch::check("d", true, |s| fs::create_dir(s.at("d/empty")).unwrap());
    let attribute = |s: &Scratch| {
        // Where files have no attributes, something else that counts.
        let file = fs::File::open(s.at("d/g")).unwrap();
        rbuild_sys::xattr::set(&file, b"user.x", b"x").or_else(|_| fs::remove_file(s.at("d/g"))).unwrap();
    };
    Scratch::check("d", true, attribute);
    // Another name for the same bytes is a copy as far as the digest goes.
    let split = |s: &Scratch| {
        fs::remove_file(s.at("top")).unwrap();
        fs::hard_link(s.at("d/g"), s.at("top")).unwrap();
    };
    Scratch::check("d", false, split);
    let (copied, linked) = (Scratch::new(), Scratch::new());
    fs::write(copied.at("top"), "g").unwrap();
    split(&linked);
    assert_eq!(copied.digest("."), linked.digest("."));
}

#[test]
fn a_missing_path_is_an_error_but_an_empty_wildcard_is_not() {
    let scratch = Scratch::new();
    let tree = scan(scratch.0.path(), &Matcher::default(), ContextIndex::default(), 1).unwrap();
    let error = digest(&tree, &[Selection::new("/no/../nothing")], Owner::Root).unwrap_err();
    assert_eq!(error.to_string(), "\"/nothing\": not found");
    assert!(digest(&tree, &[Selection::new("nothing*")], Owner::Root).is_ok());
}

#[test]
fn excluded_paths_do_not_count() {
    let scratch = Scratch::new();
    let exclude = Matcher::new(["e"]).unwrap();
    let digest = |scratch: &Scratch| {
        let tree = scan(scratch.0.path(), &Matcher::default(), ContextIndex::default(), 1).unwrap();
        digest(&tree, &[Selection::new("d").exclude(&exclude)], Owner::Root).unwrap()
    };
    let before = digest(&scratch);
    fs::write(scratch.at("d/e/f"), "other").unwrap();
    assert_eq!(digest(&scratch), before);
    fs::write(scratch.at("d/g"), "other").unwrap();
    assert_ne!(digest(&scratch), before);
}
