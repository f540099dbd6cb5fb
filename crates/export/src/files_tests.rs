use std::collections::BTreeMap;

use bytes::Bytes;
use rbuild_tree::context::{ContextIndex, scan};
use rbuild_tree::pattern::Matcher;

use super::*;
use crate::merged::{Merged, Source};

/// Makes files; a name that ends in a slash is a directory, `a -> b` a link.
fn make(names: &[&str]) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    for name in names {
        let path = place.path().join(name.split(" -> ").next().unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match (name.ends_with('/'), name.split_once(" -> ")) {
            (true, _) => std::fs::create_dir_all(path).unwrap(),
            (_, Some((_, target))) => std::os::unix::fs::symlink(target, path).unwrap(),
            _ => std::fs::write(path, format!("{name}!")).unwrap(),
        }
    }
    place
}

fn tree(place: &tempfile::TempDir) -> Box<dyn FileTree> {
    Box::new(scan(place.path(), &Matcher::default(), ContextIndex::default(), 1).unwrap())
}

fn listing(tree: &dyn FileTree) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        for node in tree.children(&path).unwrap() {
            let mut text = String::new();
            if node.metadata.kind.is_file() {
                std::io::Read::read_to_string(&mut tree.open(&node).unwrap(), &mut text).unwrap();
            }
            found.push(format!("{}={text}", node.path.display()));
            if node.metadata.kind.is_directory() {
                waiting.push(node.path);
            }
        }
    }
    found.sort_by(|a, b| a.split('=').next().cmp(&b.split('=').next()));
    found
}

#[test]
fn directories_keep_or_lose_what_is_unnamed() {
    for (unnamed, want) in [
        (
            Unnamed::Keep,
            vec!["a=a!", "d=", "d/x=d/x!", "link=", "old=", "old/deep=", "old/deep/f=old/deep/f!", "old/out="],
        ),
        (Unnamed::Delete, vec!["a=a!", "d=", "d/x=d/x!", "link="]),
    ] {
        let outside = make(&["safe"]);
        let (source, dest) = (make(&["a", "d/x", "link -> a"]), make(&["a", "old/deep/f", "d"]));
        std::os::unix::fs::symlink(outside.path(), dest.path().join("old/out")).unwrap();
        let mut written = 0;
        export_directory(&*tree(&source), dest.path(), unnamed, &mut |bytes| written = bytes).unwrap();
        assert_eq!(listing(&*tree(&dest)), want, "{unnamed:?}");
        assert_eq!(written, 6);
        assert!(outside.path().join("safe").exists(), "links are not followed");
    }
}

#[test]
fn deleting_makes_way_for_files() {
    let (source, dest) = (make(&["a"]), make(&["a/b/c"]));
    export_directory(&*tree(&source), dest.path(), Unnamed::Delete, &mut |_| {}).unwrap();
    assert_eq!(listing(&*tree(&dest)), ["a=a!"]);
}

/// Joins trees in folders, with files beside them.
fn merged(given: &[(&tempfile::TempDir, Option<&str>, &[&str])]) -> Merged {
    let source = |(position, (place, folder, extra)): (usize, &(&tempfile::TempDir, Option<&str>, &[&str]))| Source {
        name: format!("source {position}"),
        folder: folder.map(PathBuf::from),
        tree: tree(place),
        extra: extra.iter().map(|name| (PathBuf::from(name), Bytes::from_static(b"extra"))).collect::<BTreeMap<_, _>>(),
        epoch: Some(7),
    };
    Merged::new(given.iter().enumerate().map(source).collect())
}

#[test]
fn trees_are_merged() {
    let (one, two) = (make(&["a", "d/x"]), make(&["b", "d/y"]));
    for (given, want) in [
        (vec![(&one, Some("p_1"), &["e"][..])], vec!["p_1=", "p_1/a=a!", "p_1/d=", "p_1/d/x=d/x!", "p_1/e=extra"]),
        (
            vec![(&one, None, &[][..]), (&two, None, &["e"][..])],
            vec!["a=a!", "b=b!", "d=", "d/x=d/x!", "d/y=d/y!", "e=extra"],
        ),
        (
            vec![(&two, Some("q"), &[][..]), (&one, Some("p"), &[][..])],
            vec!["p=", "p/a=a!", "p/d=", "p/d/x=d/x!", "q=", "q/b=b!", "q/d=", "q/d/y=d/y!"],
        ),
    ] {
        let merged = merged(&given);
        merged.check().unwrap();
        assert_eq!(listing(&merged), want);
        let node = merged.node(Path::new(want[1].split('=').next().unwrap())).unwrap().unwrap();
        assert_eq!(node.metadata.mtime, Time::from_seconds(7));
        let tar = export_tar(&merged, Vec::new()).unwrap();
        assert_eq!(tar.len() % 512, 0);
    }
    let clash = merged(&[(&one, None, &[]), (&one, None, &[])]).check().unwrap_err().to_string();
    assert!(clash.contains("from source 0 with source 1 when split option is disabled"), "{clash}");
}
