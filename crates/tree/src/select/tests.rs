use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::context::{ContextIndex, Listing, scan};

fn tree(dir: &tempfile::TempDir) -> Listing {
    let at = |path: &str| dir.path().join(path);
    fs::create_dir_all(at("a/b")).unwrap();
    fs::create_dir_all(at("usr/lib")).unwrap();
    for file in ["a/b/one.txt", "a/b/two.txt", "a/x.txt", "top.txt", "usr/lib/so", "we[ird"] {
        fs::write(at(file), file).unwrap();
    }
    symlink("usr/lib", at("lib")).unwrap();
    symlink("/a/b", at("abs")).unwrap();
    symlink("../../../../top.txt", at("a/up")).unwrap();
    symlink("l2", at("l1")).unwrap();
    symlink("l1", at("l2")).unwrap();
    symlink("missing/x", at("dangling")).unwrap();
    scan(dir.path(), &Matcher::default(), ContextIndex::default(), 1).unwrap()
}

#[test]
fn links_are_resolved_inside_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    let tree = tree(&dir);
    let check = |path: &str, follow, expect: &str| {
        assert_eq!(resolve(&tree, Path::new(path), follow).unwrap(), Path::new(expect), "{path}");
    };
    check("/lib/so", Follow::All, "usr/lib/so");
    check("lib", Follow::All, "usr/lib");
    check("lib", Follow::Parents, "lib");
    check("lib/", Follow::Parents, "lib");
    check("abs/../x.txt", Follow::All, "a/x.txt");
    check("a/up", Follow::All, "top.txt");
    check("../../top.txt", Follow::All, "top.txt");
    check("new/dir/../file", Follow::All, "new/file");
    check("new/../lib/x", Follow::All, "usr/lib/x");
    check("dangling/y", Follow::All, "missing/x/y");
    check("", Follow::All, "");
    assert!(matches!(resolve(&tree, Path::new("l1"), Follow::All), Err(TreeError::TooManyLinks { .. })));
}

#[test]
fn wildcards_match_by_segment() {
    let dir = tempfile::tempdir().unwrap();
    let tree = tree(&dir);
    let check = |pattern: &str, expect: &[&str]| {
        let found = glob(&tree, pattern).unwrap();
        assert_eq!(found.iter().map(|p| p.to_str().unwrap()).collect::<Vec<_>>(), expect, "{pattern}");
    };
    check("*.txt", &["top.txt"]);
    check("a/b/*.txt", &["a/b/one.txt", "a/b/two.txt"]);
    check("a/*/t*", &["a/b/two.txt"]);
    check("lib/s?", &["usr/lib/so"]);
    check("abs/*", &["a/b/one.txt", "a/b/two.txt"]);
    check("li*", &["lib"]);
    check("*/so", &[]);
    check("nothing*", &[]);
    check("top.txt", &["top.txt"]);
    check("we\\[ird", &[]);
    check("/../t*", &["top.txt"]);
    assert!(glob(&tree, "a/[").is_err());
    assert!(has_wildcard("a*") && !has_wildcard("a\\*b") && has_wildcard("a\\\\*"));
}

#[test]
fn walks_keep_parents_of_what_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let tree = tree(&dir);
    let check = |start: &str, include: Option<&str>, exclude: Option<&str>, expect: &[&str]| {
        let compile = |patterns: &str| Matcher::new(patterns.split(' ')).unwrap();
        let (include, exclude) = (include.map(compile), exclude.map(compile));
        let filter = Filter { include: include.as_ref(), exclude: exclude.as_ref() };
        let start = tree.node(Path::new(start)).unwrap().unwrap();
        let found = walk(&tree, start, filter).unwrap();
        assert_eq!(found.iter().map(|n| n.path.to_str().unwrap()).collect::<Vec<_>>(), expect);
    };
    check("a", None, None, &["a", "a/b", "a/b/one.txt", "a/b/two.txt", "a/up", "a/x.txt"]);
    check("a", None, Some("b"), &["a", "a/up", "a/x.txt"]);
    check("a", None, Some("* !b/one.txt"), &["a", "a/b", "a/b/one.txt"]);
    check("a", Some("**/two.txt"), None, &["a", "a/b", "a/b/two.txt"]);
    check("a", Some("b"), Some("**/two*"), &["a", "a/b", "a/b/one.txt"]);
    check("top.txt", None, None, &["top.txt"]);
}
