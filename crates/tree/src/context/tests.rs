use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;

use super::*;

fn make(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn list(dir: &Path, ignore: &str) -> Listing {
    let matcher = Matcher::new(ignore.split(' ')).unwrap();
    scan(dir, &matcher, ContextIndex::default(), 2).unwrap()
}

fn paths(listing: &Listing) -> Vec<&str> {
    listing.entries().iter().map(|node| node.path.to_str().unwrap()).collect()
}

fn check(ignore: &str, expect: &[&str]) {
    let files =
        [("a", ""), ("a.b", ""), ("d/x", ""), ("d/y/z", ""), ("d-e", ""), ("node/m/deep/f", ""), ("node/n", "")];
    let dir = make(&files);
    assert_eq!(paths(&list(dir.path(), ignore)), expect, "{ignore}");
}

#[test]
fn lists_what_is_not_ignored_in_tree_order() {
    check(
        "",
        &["a", "a.b", "d", "d/x", "d/y", "d/y/z", "d-e", "node", "node/m", "node/m/deep", "node/m/deep/f", "node/n"],
    );
    check("node d/y", &["a", "a.b", "d", "d/x", "d-e"]);
    check("* !d/y", &["d", "d/y", "d/y/z"]);
    check("* !node/*/deep", &["node", "node/m", "node/m/deep", "node/m/deep/f"]);
    check("** !**/z", &["d", "d/y", "d/y/z"]);
    check("*", &[]);
    check("d/*", &["a", "a.b", "d", "d-e", "node", "node/m", "node/m/deep", "node/m/deep/f", "node/n"]);
}

#[test]
fn a_wide_context_is_the_same_with_any_number_of_threads() {
    let files: Vec<String> = (0..400).map(|i| format!("d{}/e{}/f{i}", i % 20, i % 7)).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|name| (name.as_str(), name.as_str())).collect();
    let dir = make(&files);
    let lists: Vec<Listing> = [1, 2, 4]
        .map(|threads| scan(dir.path(), &Matcher::default(), ContextIndex::default(), threads).unwrap())
        .into();
    assert_eq!(lists[0].entries(), lists[1].entries());
    assert_eq!(lists[0].entries(), lists[2].entries());
    for node in lists[0].entries() {
        assert_eq!(lists[0].node(&node.path).unwrap().as_ref(), Some(node));
        let children = if node.metadata.kind.is_directory() { lists[0].children(&node.path).unwrap() } else { vec![] };
        let expect = lists[0].entries().iter().filter(|other| other.path.parent() == Some(&node.path));
        assert!(children.iter().eq(expect));
    }
}

#[test]
fn contents_and_digests() {
    let dir = make(&[("f", "hello"), ("empty", "")]);
    let listing = list(dir.path(), "");
    let nodes: Vec<&Node> = listing.entries().iter().collect();
    let digests = listing.file_digests(&nodes).unwrap();
    assert_eq!(digests, [Digest::of(b""), Digest::of(b"hello")]);
    let mut text = String::new();
    listing.open(nodes[1]).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
}

#[test]
fn specials_are_listed_and_never_opened() {
    let dir = make(&[("f", "x")]);
    symlink("/etc/passwd", dir.path().join("link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let root = Root::open(dir.path()).unwrap().dir().unwrap();
    root.mknod("pipe".as_ref(), &rbuild_sys::root::Node::Fifo, 0o600).unwrap();
    let listing = list(dir.path(), "");
    assert_eq!(paths(&listing), ["f", "link", "pipe", "socket"]);
    let link = &listing.entries()[1];
    assert_eq!(link.metadata.kind.symlink_target(), Some(Path::new("/etc/passwd")));
    assert!(listing.open(link).is_err());
    assert!(listing.open(&listing.entries()[2]).is_err());
    let mut text = Vec::new();
    listing.open(&listing.entries()[3]).unwrap().read_to_end(&mut text).unwrap();
    assert!(text.is_empty());
}

#[test]
fn a_file_that_changes_is_an_error() {
    let dir = make(&[("f", "hello"), ("g", "hello"), ("d/h", "hello")]);
    let listing = list(dir.path(), "");
    fs::write(dir.path().join("f"), "longer than before").unwrap();
    fs::remove_file(dir.path().join("g")).unwrap();
    symlink("/etc/passwd", dir.path().join("g")).unwrap();
    fs::rename(dir.path().join("d"), dir.path().join("e")).unwrap();
    symlink("e", dir.path().join("d")).unwrap();
    for node in listing.entries().iter().filter(|node| node.metadata.kind.is_file()) {
        let error = listing.file_digests(&[node]).unwrap_err();
        assert!(matches!(error, TreeError::Changed { .. }), "{error}");
    }
    let nodes = list(dir.path(), "");
    let node = nodes.entries().iter().find(|node| node.path == Path::new("f")).unwrap();
    let mut open = nodes.open(node).unwrap();
    open.read_exact(&mut [0; 3]).unwrap();
    fs::write(dir.path().join("f"), "").unwrap();
    assert!(open.read_to_end(&mut Vec::new()).is_err());
}

#[test]
fn the_index_may_be_saved_by_several_at_once() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), "x").unwrap();
    let at = dir.path().join("index");
    let listing = scan(dir.path(), &Matcher::default(), ContextIndex::default(), 1).unwrap();
    std::thread::scope(|scope| {
        let save = || (0..50).try_for_each(|_| listing.save_index(&at));
        let threads = [scope.spawn(save), scope.spawn(save), scope.spawn(save)];
        threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    });
}

#[test]
fn the_index_saves_reading() {
    let dir = make(&[("f", "hello"), ("g", "world")]);
    let memory = tempfile::tempdir().unwrap();
    let at = memory.path().join("index");
    std::thread::sleep(std::time::Duration::from_millis(60));
    let first = list(dir.path(), "");
    first.file_digests(&first.entries().iter().collect::<Vec<_>>()).unwrap();
    first.save_index(&at).unwrap();
    fs::write(dir.path().join("g"), "other").unwrap();
    let second = scan(dir.path(), &Matcher::default(), ContextIndex::load(&at), 2).unwrap();
    assert!(second.memory().known[0].is_some());
    assert!(second.memory().known[1].is_none());
    let digests = second.file_digests(&second.entries().iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(digests, [Digest::of(b"hello"), Digest::of(b"other")]);
    second.save_index(&at).unwrap();
    let third = ContextIndex::load(&at);
    assert!(third.len() == 1, "what was just written is not remembered, what was before is");
}

#[test]
fn same_size_changes_right_after_hashing_are_seen() {
    let memory = tempfile::tempdir().unwrap();
    let at = memory.path().join("index");
    let dir = make(&[("f", "0")]);
    for round in 1..50 {
        let listing = scan(dir.path(), &Matcher::default(), ContextIndex::load(&at), 1).unwrap();
        let digest = listing.file_digests(&[&listing.entries()[0]]).unwrap()[0];
        let text = fs::read(dir.path().join("f")).unwrap();
        assert_eq!(digest, Digest::of(&text), "round {round}");
        listing.save_index(&at).unwrap();
        fs::write(dir.path().join("f"), (round % 10).to_string()).unwrap();
    }
}

// items: C023
#[test]
fn closed_directories_are_an_error_for_those_who_look_into_them() {
    use std::os::unix::fs::PermissionsExt;
    let dir = make(&[("a", "A"), ("d/x", ""), ("d/closed/y", ""), ("e/z", "")]);
    let mode = |mode| fs::set_permissions(dir.path().join("d/closed"), fs::Permissions::from_mode(mode)).unwrap();
    mode(0);
    std::thread::scope(|scope| {
        let without_privilege = || {
            rbuild_sys::caps::limit_to(0).unwrap();
            let listing = list(dir.path(), "");
            assert_eq!(paths(&listing), ["a", "d", "d/closed", "d/x", "e", "e/z"]);
            assert_eq!(listing.children(Path::new("d")).unwrap().len(), 2);
            for error in [listing.children(Path::new("d/closed")).err(), listing.node(Path::new("d/closed/y")).err()] {
                let error = error.unwrap();
                assert!(matches!(&error, TreeError::Io { path, .. } if path.ends_with("d/closed")), "{error}");
            }
            assert!(listing.node(Path::new("d/other")).unwrap().is_none());
            assert_eq!(paths(&list(dir.path(), "d/closed")), ["a", "d", "d/x", "e", "e/z"]);
        };
        scope.spawn(without_privilege).join().unwrap();
    });
    mode(0o755);
}
