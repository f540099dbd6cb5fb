//! Results out of the house, judged by those who take them in.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::lab::{Lab, have, is_root, path, run};

const DOCKERFILE: &str = "FROM busybox\nRUN mkdir /d && echo x > /d/x && ln -s x /d/y && rm /bin/vi\nCOPY --chown=1000 a /a\nENV e=1\nCMD [\"cat\", \"/a\"]\n";

fn build(lab: &Lab, output: &str) {
    lab.build(DOCKERFILE, &[("a", "A\n")], &["-t", "app:1", "-o", output]).ok();
}

fn json(lab: &Lab, program: &str, args: &[&str]) -> Value {
    serde_json::from_str(&run(lab.command(program).args(args), b"").ok().stdout).unwrap()
}

/// Both kinds of archive, in each compression, as skopeo sees them.
#[test]
fn archives_are_read_by_skopeo() {
    if !have(&["skopeo"]) {
        return;
    }
    let lab = Lab::new();
    build(&lab, "type=image");
    let layers = lab.inspect("app:1")["RootFS"]["Layers"].as_array().unwrap().len();
    for (kind, transport) in [("oci", "oci-archive"), ("docker", "docker-archive")] {
        for compression in ["gzip", "zstd", "uncompressed", "gzip,compression-level=9,force-compression=true"] {
            if (kind, compression) == ("docker", "zstd") {
                continue;
            }
            let _ = std::fs::remove_file(lab.at("out.tar"));
            build(&lab, &format!("type={kind},dest=out.tar,compression={compression}"));
            let shown = json(&lab, "skopeo", &["inspect", &format!("{transport}:out.tar")]);
            assert_eq!(shown["Layers"].as_array().unwrap().len(), layers, "{kind} {compression}");
            assert!(shown["Env"].as_array().unwrap().contains(&"e=1".into()), "{shown}");
            // Copying reads and verifies each blob.
            run(
                lab.command("skopeo").args([
                    "copy",
                    "-q",
                    &format!("{transport}:out.tar"),
                    &format!("dir:copied-{kind}"),
                ]),
                b"",
            )
            .ok();
        }
    }
}

#[test]
fn layouts_are_unpacked_by_umoci() {
    if !have(&["umoci"]) {
        return;
    }
    let lab = Lab::new();
    build(&lab, "type=oci,dest=layout,tar=false");
    let rootless: &[&str] = if is_root() { &[] } else { &["--rootless"] };
    run(lab.command("umoci").args(["unpack"]).args(rootless).args(["--image", "layout:1", "bundle"]), b"").ok();
    let root = lab.at("bundle/rootfs");
    assert_eq!(std::fs::read_to_string(root.join("d/x")).unwrap(), "x\n");
    assert_eq!(std::fs::read_link(root.join("d/y")).unwrap().to_str(), Some("x"));
    assert!(!root.join("bin/vi").exists() && root.join("bin/busybox").exists(), "whiteouts are applied");
    if is_root() {
        use std::os::unix::fs::MetadataExt;
        assert_eq!(std::fs::metadata(root.join("a")).unwrap().uid(), 1000);
    }
    let _ = Command::new("chmod").args(["-R", "u+rwX", &path(&lab.at("bundle"))]).status();
}

#[test]
fn archives_are_loaded_by_podman() {
    if !have(&["podman"]) || !crate::lab::root_or_skip() {
        return;
    }
    let lab = Lab::new();
    for kind in ["docker", "oci"] {
        build(&lab, &format!("type={kind},dest={kind}.tar"));
        let (root, runroot) = (path(&lab.at("podman")), path(&lab.at("pr")));
        let podman = |args: &[&str]| {
            run(
                lab.command("podman")
                    .args(["--root", &root, "--runroot", &runroot, "--storage-driver=vfs", "--cgroup-manager=cgroupfs"])
                    .args(args),
                b"",
            )
        };
        podman(&["load", "-q", "-i", &format!("{kind}.tar")]).ok();
        let shown: Value = serde_json::from_str(&podman(&["image", "inspect", "app:1"]).ok().stdout).unwrap();
        assert_eq!(shown[0]["Config"]["Cmd"], serde_json::json!(["cat", "/a"]), "{kind}");
        assert_eq!(shown[0]["RootFS"]["Layers"], {
            build(&lab, "type=image");
            lab.inspect("app:1")["RootFS"]["Layers"].clone()
        });
        podman(&["rmi", "-f", "app:1"]).ok();
    }
}

#[test]
fn directories_and_tars_hold_the_same_files() {
    let lab = Lab::new();
    let context = path(&lab.context(DOCKERFILE, &[("a", "A\n")]));
    lab.rbuild(["build", "-q", "-o", "dir", "-o", "type=tar,dest=out.tar", &context]).ok();
    let piped = lab.command(crate::lab::binary()).args(["build", "-q", "-o", "-", &context]).output().unwrap();
    assert!(piped.status.success());
    assert_eq!(piped.stdout, std::fs::read(lab.at("out.tar")).unwrap());
    let listing = run(Command::new("tar").args(["-tf", &path(&lab.at("out.tar"))]), b"").ok().stdout;
    let names: BTreeSet<_> = listing.lines().map(|line| line.trim_start_matches("./").trim_matches('/')).collect();
    for name in ["a", "d/x", "d/y", "bin/busybox", "etc/passwd"] {
        assert!(names.contains(name) && lab.at("dir").join(name).symlink_metadata().is_ok(), "{name}: {listing}");
    }
    assert!(!names.contains("bin/vi") && !lab.at("dir/bin/vi").exists());
    assert!(names.iter().all(|name| !name.contains(".wh.")), "{listing}");
}

#[test]
fn several_outputs_at_once() {
    let lab = Lab::new();
    let context = path(&lab.context(DOCKERFILE, &[("a", "A\n")]));
    lab.rbuild([
        "build",
        "-q",
        "-t",
        "app:1",
        "-o",
        "type=oci,dest=o.tar",
        "-o",
        "type=docker,dest=d.tar",
        "-o",
        "type=local,dest=l",
        "--load",
        &context,
    ])
    .ok();
    assert!(lab.at("o.tar").exists() && lab.at("d.tar").exists() && lab.at("l/a").exists());
    assert_eq!(lab.inspect("app:1")["Config"]["Cmd"][0], "cat");
}

#[test]
fn outputs_that_cannot_be_written_are_said() {
    let lab = Lab::empty();
    let context = path(&lab.context("FROM scratch\nCOPY a /\n", &[("a", "A")]));
    std::fs::write(lab.at("file"), "").unwrap();
    for (output, said) in [
        ("type=oci", "dest"),
        ("type=local,dest=/proc/x", "/proc/x"),
        ("type=tar,dest=file/x", "file/x"),
        ("type=oci,dest=o,compression=lzw", "lzw"),
        ("type=oci,dest=o,colour=red", "colour"),
        ("type=local,dest=o,mode=move", "copy or delete"),
        ("type=oci,dest=o,annotation-index.k=v", "index annotations not supported for single platform export"),
    ] {
        let outcome = lab.rbuild(["build", "-o", output, &context]);
        assert!(matches!(outcome.code, 1 | 2), "{outcome:?}");
        outcome.says(said);
    }
}

#[test]
fn directories_lose_what_is_unnamed_if_asked() {
    let lab = Lab::empty();
    let context = path(&lab.context("FROM scratch\nCOPY a /\n", &[("a", "A")]));
    std::fs::create_dir_all(lab.at("dir/old")).unwrap();
    for (mode, kept) in [("copy", true), ("delete", false)] {
        lab.rbuild(["build", "-q", "-o", &format!("type=local,dest=dir,mode={mode}"), &context]).ok();
        assert_eq!((lab.at("dir/a").exists(), lab.at("dir/old").exists()), (true, kept), "{mode}");
    }
}

#[test]
fn annotations_stand_where_they_are_wanted() {
    if !have(&["skopeo"]) {
        return;
    }
    let lab = Lab::empty();
    let context = path(&lab.context("FROM scratch\nCOPY a /\n", &[("a", "A")]));
    let output = "type=oci,dest=o.tar,annotation.k=v,annotation-manifest-descriptor.d=w,source-date-epoch=0";
    lab.rbuild(["build", "-q", "-o", output, "--metadata-file", "m", &context]).ok();
    let manifest = json(&lab, "skopeo", &["inspect", "--raw", "oci-archive:o.tar"]);
    assert_eq!(manifest["annotations"], serde_json::json!({"k": "v"}));
    let metadata: Value = serde_json::from_slice(&std::fs::read(lab.at("m")).unwrap()).unwrap();
    let annotations = serde_json::json!({"d": "w", "org.opencontainers.image.created": "1970-01-01T00:00:00Z"});
    assert_eq!(metadata["containerimage.descriptor"]["annotations"], annotations);
}

#[test]
fn saved_images_are_loaded_again() {
    let (lab, other) = (Lab::new(), Lab::empty());
    build(&lab, "type=image");
    for args in [
        &["save", "app:1", "-o", "s.tar"][..],
        &["save", "app:1", "-o", "s.tar", "--format=oci-archive", "--compression=zstd"],
    ] {
        let _ = std::fs::remove_file(lab.at("s.tar"));
        lab.rbuild(args).ok();
        other.rbuild(["load", "-i", &path(&lab.at("s.tar"))]).ok();
        assert_eq!(other.inspect("app:1")["Id"], lab.inspect("app:1")["Id"]);
        other.say("run --rm --network=none app:1").ok().prints("A");
        other.say("rmi app:1").ok();
    }
    let saved = lab.command(crate::lab::binary()).args(["save", "app:1", "busybox"]).output().unwrap();
    other.rbuild_with_input(["load"], &saved.stdout).ok();
    assert!(other.say("images").ok().stdout.contains("busybox"));
}
