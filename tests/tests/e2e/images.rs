//! What the store holds, by name and by size, and that it gives back what it took.

use crate::lab::{Lab, path};

#[test]
fn names_come_and_go() {
    let lab = Lab::new();
    lab.say("tag busybox other:1").ok();
    lab.say("tag busybox localhost:5000/x/y:z").ok();
    let listed = lab.say("images").ok().stdout;
    for row in ["busybox", "other", "localhost:5000/x/y"] {
        assert!(listed.contains(row), "{listed}");
    }
    assert_eq!(lab.say("images -q").ok().line().lines().count(), 1, "one image with three names");
    let rows: Vec<serde_json::Value> =
        lab.say("images --format=json").ok().stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 3);
    lab.say("rmi busybox").ok();
    lab.say("inspect busybox").exits(1);
    let id = lab.inspect("other:1")["Id"].as_str().unwrap().to_owned();
    lab.rbuild(["rmi", &id]).exits(1).says("must be forced");
    lab.rbuild(["rmi", "-f", &id]).ok();
    lab.say("images -q").ok().prints("");
}

#[test]
fn new_image_takes_the_name_of_the_old() {
    let lab = Lab::empty();
    for text in ["1", "2"] {
        lab.build("FROM scratch\nCOPY a /\n", &[("a", text)], &["-t", "app"]).ok();
    }
    let listed = lab.say("images --format=json").ok().stdout;
    assert_eq!(listed.lines().filter(|line| line.contains("\"app\"")).count(), 1, "{listed}");
    lab.say("prune -f").ok();
    assert_eq!(lab.say("images -q").ok().line().lines().count(), 1);
}

// items: K014
#[test]
fn everything_is_given_back() {
    let lab = Lab::new();
    let context = path(&lab.context("FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=3\nRUN --mount=type=cache,target=/c touch /c/x\nCOPY a /\n", &[("a", "A")]));
    lab.rbuild(["build", "-q", "-t", "app", &context]).ok();
    let usage = lab.say("du").ok().stdout;
    assert!(usage.contains("Total:"), "{usage}");
    lab.say("run --rm --network=none app true").ok();
    lab.say("rmi app busybox").ok();
    let pruned = lab.say("prune -af").ok().stdout;
    assert!(pruned.contains("Total:") && !pruned.contains("\t0B"), "{pruned}");
    let left: Vec<_> = lab.content().into_iter().filter(|file| !file.ends_with("sha256")).collect();
    assert!(left.is_empty(), "{left:?}");
    let usage = lab.say("du").ok().stdout;
    assert!(usage.contains("Reclaimable:\t0B"), "{usage}");
}

#[test]
fn images_keep_what_they_need_when_the_cache_goes() {
    let lab = Lab::new();
    lab.build("FROM busybox\nRUN echo kept > /kept\n", &[], &["-t", "app"]).ok();
    lab.say("prune -f").ok();
    lab.say("run --rm --network=none app cat /kept").ok().prints("kept");
    lab.say("rmi busybox").ok();
    lab.say("run --rm --network=none app cat /kept").ok().prints("kept");
    lab.say("save app -o app.tar").ok();
}

#[test]
fn prune_asks_first() {
    let lab = Lab::new();
    lab.say("prune -a").exits(1).says("--force");
    assert_eq!(lab.say("images -q").ok().line().lines().count(), 1);
}

#[test]
fn damaged_blob_is_found() {
    let lab = Lab::new();
    lab.build("FROM busybox\nCOPY a /\n", &[("a", "A")], &["-t", "app"]).ok();
    lab.say("save app -o first.tar").ok();
    let blobs: Vec<_> = lab.content().into_iter().filter(|file| file.contains("blobs/sha256/")).collect();
    for blob in &blobs {
        let mut bytes = std::fs::read(blob).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        // Blobs are read-only for an ordinary user.
        std::fs::remove_file(blob).unwrap();
        std::fs::write(blob, bytes).unwrap();
    }
    let outcome = lab.say("save app -o second.tar");
    assert_ne!(outcome.code, 0, "{outcome:?}");
    assert!(
        outcome.stderr.contains("digest") || outcome.stderr.contains("sha256") || outcome.stderr.contains("corrupt"),
        "{outcome:?}"
    );
}

#[test]
fn damaged_layer_is_named_and_replaced() {
    let lab = Lab::new();
    lab.build("FROM busybox\nCOPY a /kept\n", &[("a", "kept")], &["-t", "app"]).ok();
    lab.say("save app --compression=gzip -o app.tar").ok();
    let other = Lab::empty();
    let archive = path(&lab.at("app.tar"));
    other.rbuild(["load", "-q", "-i", &archive]).ok();
    let size = |file: &String| std::fs::metadata(file).unwrap().len();
    let largest = other.content().into_iter().max_by_key(size).unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    // In the middle of compressed data, which then makes no sense long before its end.
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&largest).unwrap();
    std::fs::write(&largest, bytes).unwrap();
    let digest = largest.rsplit('/').next().unwrap();
    other
        .say("run --rm --network=none app cat /kept")
        .exits(125)
        .says(&format!("blob sha256:{digest} is corrupt"))
        .says("was removed from the store");
    other.rbuild(["load", "-q", "-i", &archive]).ok();
    other.say("run --rm --network=none app cat /kept").ok().prints("kept");
}

#[test]
fn foreign_archives_are_refused() {
    let lab = Lab::empty();
    std::fs::write(lab.at("x.tar"), "no archive").unwrap();
    lab.say("load -i x.tar").exits(1).says("x.tar");
    let context = path(&lab.context("FROM scratch\nCOPY a /\n", &[("a", "A")]));
    lab.rbuild(["build", "-q", "-o", "type=tar,dest=y.tar", &context]).ok();
    lab.say("load -i y.tar").exits(1).says("y.tar");
}
