//! Layers that try to reach beyond their directory, or to cost more than they weigh.

use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use super::*;

/// Unpacks a layer next to a file and directory that must not notice; returns what was made.
fn contained(tar: Tar) -> (Place, Result<UnpackReport, SnapshotError>) {
    let place = Place::new();
    let outside = place.dir("outside");
    std::fs::write(outside.join("canary"), "alive").unwrap();
    std::fs::write(place.path("canary"), "alive").unwrap();
    let state = |path: PathBuf| {
        let stat = std::fs::symlink_metadata(path).unwrap();
        (stat.mode(), stat.uid(), stat.nlink(), stat.mtime_nsec(), stat.ctime_nsec(), stat.len())
    };
    let watched = ["outside", "outside/canary", "canary"].map(|name| place.path(name));
    let before = watched.clone().map(state);
    let result = place.unpack("layer", &tar.end());
    assert_eq!(watched.map(state), before);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(place.path("")).unwrap().count(), 3);
    (place, result)
}

fn refused(tar: Tar, why: &str) {
    let (_, result) = contained(tar);
    let error = result.expect_err(why).to_string();
    assert!(error.contains(why), "{error} instead of {why}");
}

fn tar() -> Tar {
    Tar::default()
}

#[test]
fn names_are_clamped() {
    let (place, result) = contained(tar().file("../../outside/canary", "x").file("/canary", "y"));
    result.unwrap();
    assert_eq!(std::fs::read(place.path("layer/outside/canary")).unwrap(), b"x");
    assert_eq!(std::fs::read(place.path("layer/canary")).unwrap(), b"y");
    contained(tar().file("a/../../../outside/canary", "x")).1.unwrap();
    contained(tar().dir("..").dir("/").dir(".")).1.unwrap();
    refused(tar().file("..", "x"), "root of a layer");
    refused(tar().raw(&Raw { kind: b'2', name: "./", link: "../outside", ..Raw::FILE }), "root of a layer");
}

#[test]
fn parents_that_are_links_stay_inside() {
    for target in ["../outside", "../../outside", "/../outside", "/outside"] {
        let (place, result) = contained(tar().symlink("l", target).file("l/canary", "x").dir("l/sub"));
        result.unwrap();
        assert!(place.path("layer/outside/canary").exists(), "{target}");
    }
    contained(tar().symlink("a", "b").symlink("b", "../outside").file("a/canary", "x")).1.unwrap();
    refused(tar().symlink("a", "b").symlink("b", "a").file("a/x", "x"), "links without end");
    refused(tar().file("f", "").file("f/x", ""), "not a directory");
}

#[test]
fn the_last_component_is_replaced_not_followed() {
    let evil = |kind| Raw { kind, name: "l", mode: 0o777, owner: (1, 1), ..Raw::FILE };
    for kind in [b'0', b'5', b'6'] {
        let (place, result) = contained(tar().symlink("l", "../outside/canary").raw(&evil(kind)));
        result.unwrap();
        assert!(!place.path("layer/l").is_symlink());
        contained(tar().symlink("l", "../outside").raw(&evil(kind))).1.unwrap();
    }
}

#[test]
fn hard_links_name_files_of_their_layer_only() {
    refused(tar().hard_link("h", "../canary"), "hard link to nothing");
    refused(tar().hard_link("h", "/etc/passwd"), "hard link to nothing");
    refused(tar().symlink("l", "../outside").hard_link("h", "l/canary"), "hard link to nothing");
    refused(tar().dir("d").hard_link("h", "d"), "hard link to a directory");
    refused(tar().dir("d").file("d/f", "").hard_link("d", "d/f"), "hard link to nothing");
    refused(tar().hard_link("h", ""), "hard link to nothing");
    // A link to a link names the link, never what it points to.
    let (place, result) = contained(tar().symlink("l", "../outside/canary").hard_link("h", "l").file("h", "x"));
    result.unwrap();
    assert!(place.path("layer/l").is_symlink() && !place.path("layer/h").is_symlink());
}

#[test]
fn whiteouts_are_single_names() {
    refused(tar().file("d/.wh.", ""), "whiteout of no name");
    refused(tar().file("d/.wh..", ""), "whiteout of no name");
    refused(tar().file("d/.wh...", ""), "whiteout of no name");
    refused(tar().file(".wh.d/x", ""), "name of a whiteout");
    contained(tar().symlink("l", "../outside").file("l/.wh.canary", "").file("l/.wh..wh..opq", "")).1.unwrap();
    contained(tar().file(".wh..wh.plnk/1.2", "x").file(".wh..wh.aufs", "")).1.unwrap();
}

#[test]
fn overlay_metadata_is_not_taken_from_layers() {
    let place = Place::new();
    let base = place.tree("base", tar().dir("d").file("d/f", "1").file("g", "2"));
    let records: Vec<(String, &str)> = ["trusted.overlay.opaque", "user.overlay.opaque", "user.overlay.whiteout"]
        .map(|name| (format!("SCHILY.xattr.{name}"), "y"))
        .into();
    let records: Vec<(&str, &str)> = records.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let evil = tar().raw(&Raw { kind: b'5', name: "d", mode: 0o755, records: &records, ..Raw::FILE });
    let evil = evil.raw(&Raw { name: "e", records: &records, ..Raw::FILE });
    let evil = evil.raw(&Raw { kind: b'3', name: "g", link: "0:0", ..Raw::FILE });
    let blob = place.blob("evil.tar", &evil.clone().end());
    let tree = place.tree("evil", evil);
    for evil in [tree, blob] {
        check(&[base.clone(), evil], "d/ d/f=1 e= g=2");
    }
}

#[test]
fn long_names_and_wrong_owners_are_ordinary_errors() {
    let long = "n".repeat(300);
    let records = [("path", long.as_str())];
    refused(tar().raw(&Raw { name: "x", records: &records, ..Raw::FILE }), "making layer entry");
    let deep = "d/".repeat(2100);
    let records = [("path", deep.as_str())];
    refused(tar().raw(&Raw { kind: b'5', name: "x", records: &records, ..Raw::FILE }), "longer than");
    let records = [("uid", "4294967295")];
    refused(tar().raw(&Raw { name: "x", records: &records, ..Raw::FILE }), "owner out of range");
}

#[test]
fn sizes_are_limited() {
    let place = Place::new();
    let small = UnpackOptions { max_size: 1000, ..options() };
    let big = tar().file("a", &"x".repeat(600)).file("b", &"x".repeat(600)).end();
    let error = unpack(big.as_slice(), &place.dir("a"), &small).unwrap_err();
    assert!(matches!(error, SnapshotError::TooLarge { limit: 1000 }), "{error}");
    let records =
        [("GNU.sparse.map", "0,0"), ("GNU.sparse.numblocks", "1"), ("GNU.sparse.size", "9223372036854775807")];
    let hole = tar().raw(&Raw { name: "hole", records: &records, ..Raw::FILE }).end();
    let error = unpack(hole.as_slice(), &place.dir("b"), &small).unwrap_err();
    assert!(matches!(error, SnapshotError::TooLarge { limit: 1000 }), "{error}");
}

#[test]
fn repeated_marks_and_names_take_linear_time() {
    let mut evil = tar();
    for index in 0..1000 {
        evil = evil.file(&format!("d/{index}"), "");
    }
    for _ in 0..1000 {
        evil = evil.file("d/.wh..wh..opq", "").file("d/x", "y");
    }
    for _ in 0..500 {
        evil = evil.dir("e").file("e/x", "").file("e", "");
    }
    let start = Instant::now();
    contained(evil).1.unwrap();
    assert!(start.elapsed().as_secs() < 15, "took {:?}", start.elapsed());
}

#[test]
fn broken_streams_are_errors_and_junk_after_the_end_counts() {
    let good = tar().file("a", &"x".repeat(2000)).end();
    let place = Place::new();
    assert!(place.unpack("cut", &good[..1500]).is_err());
    let junk = [good.as_slice(), b"junk"].concat();
    let report = place.unpack("junk", &junk).unwrap();
    assert_eq!((report.diff_id.0, report.tar_size), (rbuild_oci::Digest::of(&junk), junk.len() as u64));
    let failing = good.as_slice().chain(Failing);
    assert!(unpack(failing, &place.dir("failing"), &options()).is_err());
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("the disk is gone"))
    }
}
