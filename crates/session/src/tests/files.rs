//! Directories in both directions.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rbuild_events::Silent;
use rbuild_oci::Digest;
use rbuild_ops::{Differ, LocalRequest, Session as _};
use rbuild_solver::Context;
use rbuild_store::Store;
use rbuild_tree::context::{ContextIndex, scan};
use rbuild_tree::pattern::Matcher;

use super::*;
use crate::RemoteClient;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.path("context")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.path("context").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

/// Returns paths, kinds, modes and contents of a directory, one on a line.
fn dump(path: &Path) -> Vec<String> {
    let listing = scan(path, &Matcher::default(), ContextIndex::default(), 1).unwrap();
    let lines = listing.entries().iter().map(|node| {
        let full = path.join(&node.path);
        let content =
            if node.metadata.kind.is_file() { std::fs::read_to_string(&full).unwrap() } else { String::new() };
        let target = node.metadata.kind.symlink_target().map(|target| target.display().to_string()).unwrap_or_default();
        let links = if node.metadata.kind.is_file() { std::fs::metadata(&full).unwrap().nlink() } else { 0 };
        format!("{} {:o} {links} {content}{target}", node.path.display(), node.metadata.mode)
    });
    lines.collect()
}

fn request(name: &str) -> LocalRequest {
    LocalRequest { name: name.to_owned(), ..LocalRequest::default() }
}

async fn copy(pair: &Pair, request: &LocalRequest, to: &Path) -> u64 {
    let mut received = 0;
    pair.session.copy_local(request, to.to_owned(), (), |bytes| received = bytes).await.unwrap();
    received
}

fn sample(place: &Place) {
    place.write("a/b", "one");
    place.write("a-b", "two");
    place.write("grün/ü", "three");
    place.write("sub/deep/file", &"x".repeat(100_000));
    place.write("empty", "");
    let path = |name: &str| place.path("context").join(name);
    std::fs::hard_link(path("a/b"), path("z-link")).unwrap();
    symlink("../../outside", path("a/link")).unwrap();
    std::fs::set_permissions(path("a-b"), PermissionsExt::from_mode(0o4751)).unwrap();
    std::fs::set_permissions(path("sub"), PermissionsExt::from_mode(0o1700)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_are_copied_and_then_brought_up_to_date() {
    let place = Place::new();
    sample(&place);
    let (from, to) = (place.path("context"), place.path("copy"));
    std::fs::write(from.join(OsStr::from_bytes(b"\xff\xfe")), "no text").unwrap();
    std::fs::create_dir(&to).unwrap();
    std::fs::write(to.join("stale"), "").unwrap();
    let pair = Daemon::pair(ClientSession::new("").with_local("context", &from)).await;
    let whole = copy(&pair, &request("context"), &to).await;
    assert!(whole > 100_000);
    assert_eq!(dump(&to), dump(&from));
    let mtime = |path: &Path| std::fs::symlink_metadata(path).unwrap().mtime_nsec();
    assert_eq!(mtime(&to.join("sub")), mtime(&from.join("sub")));
    // Nothing changed: names only.
    let names = copy(&pair, &request("context"), &to).await;
    assert!(names < 10_000, "{names}");
    // A file becomes a directory, a directory a file, a name of two files one of another.
    std::fs::remove_file(from.join("empty")).unwrap();
    place.write("empty/now/full", "four");
    std::fs::remove_dir_all(from.join("sub")).unwrap();
    place.write("sub", "five");
    std::fs::remove_file(from.join("z-link")).unwrap();
    std::fs::hard_link(from.join("sub"), from.join("z-link")).unwrap();
    place.write("a/b", "changed");
    copy(&pair, &request("context"), &to).await;
    assert_eq!(dump(&to), dump(&from));
    let always = LocalRequest { differ: Differ::Never, ..request("context") };
    std::fs::write(to.join("sub"), "evil").unwrap();
    let old = std::fs::metadata(from.join("sub")).unwrap().modified().unwrap();
    std::fs::File::open(to.join("sub")).unwrap().set_modified(old).unwrap();
    copy(&pair, &always, &to).await;
    assert_eq!(dump(&to), dump(&from));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_send_what_is_asked_for() {
    let place = Place::new();
    sample(&place);
    symlink("sub/deep", place.path("context").join("l")).unwrap();
    let pair = Daemon::pair(ClientSession::new("").with_local("context", place.path("context"))).await;
    type List = &'static [&'static str];
    let table: [(List, List, List, List); 7] = [
        (&[], &["**", "!a-b"], &[], &["a-b"]),
        (&["a"], &["a/l*"], &[], &["a", "a/b"]),
        (&["grün/*"], &[], &[], &["grün", "grün/ü"]),
        (&[], &[], &["l/file"], &["l", "sub", "sub/deep", "sub/deep/file"]),
        (&[], &["sub"], &["l/file"], &["l"]),
        // The first name of a file that has two is left out.
        (&["z-link"], &[], &[], &["z-link"]),
        (&[], &[], &["missing"], &[]),
    ];
    for (include, exclude, follow, expect) in table {
        let list = |patterns: &[&str]| patterns.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>();
        let request =
            LocalRequest { include: list(include), exclude: list(exclude), follow: list(follow), ..request("context") };
        let to = tempfile::tempdir().unwrap();
        copy(&pair, &request, to.path()).await;
        let paths: Vec<_> = dump(to.path()).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
        assert_eq!(paths, expect, "{request:?}");
    }
    let refused = pair.session.copy_local(&request("other"), place.path("context"), (), |_| {}).await.unwrap_err();
    assert!(refused.to_string().contains("no access allowed to dir \"other\""), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_alone_is_kept_in_a_file() {
    let place = Place::new();
    sample(&place);
    let pair = Daemon::pair(ClientSession::new("").with_local("context", place.path("context"))).await;
    let request = LocalRequest { metadata_only: Some(vec!["sub/deep".to_owned()]), ..request("context") };
    let to = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        copy(&pair, &request, to.path()).await;
        let mut entries: Vec<_> =
            std::fs::read_dir(to.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        entries.sort();
        assert_eq!(entries, [".fsutil-metadata", "sub"]);
        assert!(to.path().join("sub/deep/file").exists());
        let bytes = std::fs::read(to.path().join(".fsutil-metadata")).unwrap();
        let (mut rest, mut paths) = (bytes.as_slice(), Vec::new());
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let (stat, tail) = tail.split_at(u32::from_le_bytes(*length) as usize);
            let stat: crate::fsutil::Stat = prost::Message::decode(stat).unwrap();
            paths.push(String::from_utf8(stat.path).unwrap());
            rest = tail;
        }
        let expect =
            ["a", "a/b", "a/link", "a-b", "empty", "grün", "grün/ü", "sub", "sub/deep", "sub/deep/file", "z-link"];
        assert_eq!(paths, expect);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_kept_and_never_changed_while_they_are_read() {
    let place = Place::new();
    place.write("file", "one");
    let store = Store::open(&place.path("store")).unwrap();
    let pair = Daemon::pair(ClientSession::new("key").with_local("context", place.path("context"))).await;
    let client = RemoteClient::new(pair.group(), store.clone());
    let context = Context::new(Digest::of(b""), "load", Arc::new(Silent), std::time::SystemTime::now);
    let first = client.local(&request("context"), &context).await.unwrap().unwrap();
    place.write("file", "longer");
    let second = client.local(&request("context"), &context).await.unwrap().unwrap();
    let read = |path: &Path| std::fs::read_to_string(path.join("file")).unwrap();
    assert_eq!((read(&first.path).as_str(), read(&second.path).as_str()), ("one", "longer"));
    let path = first.path.clone();
    drop((first, second));
    let third = client.local(&request("context"), &context).await.unwrap().unwrap();
    assert_eq!((third.path.clone(), read(&third.path).as_str()), (path, "longer"));
    let hinted = LocalRequest { shared_key_hint: "x".to_owned(), ..request("context") };
    let other = client.local(&hinted, &context);
    assert_ne!(other.await.unwrap().unwrap().path, third.path);
    let usage = store.usage().unwrap();
    let locals: Vec<_> = usage.records.iter().filter(|record| record.kind == rbuild_store::Kind::Local).collect();
    assert!(locals.iter().any(|record| record.description == "local source for context" && record.in_use));
    assert_ne!(client.scope(&request("context")), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_are_sent_to_clients_upon_what_is_there() {
    let place = Place::new();
    sample(&place);
    let (from, to) = (place.path("context"), place.path("out"));
    std::fs::create_dir(&to).unwrap();
    std::fs::write(to.join("kept"), "mine").unwrap();
    std::fs::write(to.join("a-b"), "old").unwrap();
    let pair = Daemon::pair(ClientSession::new("").with_directory(2, &to)).await;
    let tree = Arc::new(scan(&from, &Matcher::default(), ContextIndex::default(), 1).unwrap());
    for _ in 0..2 {
        pair.session.send_tree(2, tree.clone(), false).await.unwrap();
        assert_eq!(std::fs::read_to_string(to.join("kept")).unwrap(), "mine");
    }
    std::fs::remove_file(to.join("kept")).unwrap();
    assert_eq!(dump(&to), dump(&from));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_files_are_copied() {
    let place = Place::new();
    for directory in 0..100 {
        for file in 0..200 {
            place.write(&format!("{directory}/{file}"), &format!("{directory} {file}"));
        }
    }
    let pair = Daemon::pair(ClientSession::new("").with_local("context", place.path("context"))).await;
    let to = tempfile::tempdir().unwrap();
    copy(&pair, &request("context"), to.path()).await;
    assert_eq!(dump(to.path()), dump(&place.path("context")));
}
