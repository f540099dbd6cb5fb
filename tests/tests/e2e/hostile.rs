//! Hostile Dockerfiles, contexts and destinations, through the whole of rbuild: refused with a place and a reason, and
//! nothing outside of the context is read or written.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::lab::{Lab, path};

/// A text that must never leave its file.
const CANARY: &str = "the canary stays where it is";

/// Returns a context, with a file beside it that nothing may reach.
fn beside_canary(lab: &Lab, dockerfile: &str) -> (PathBuf, PathBuf) {
    let context = lab.context(dockerfile, &[("own", "own")]);
    let canary = lab.path().join("canary");
    std::fs::write(&canary, CANARY).expect("writing");
    (context, canary)
}

fn untouched(canary: &Path) {
    assert_eq!(std::fs::read_to_string(canary).expect("the canary is there"), CANARY);
}

/// X42-X46, X51-X53: what a Dockerfile alone may try.
#[test]
fn x42_to_x53_hostile_dockerfiles() {
    let lab = Lab::empty();
    let long = format!("FROM scratch\nENV A={}\n", "x".repeat(70_000));
    let deep = format!("FROM scratch\nENV A={}\n", "${A:-".repeat(300));
    let many = "RUN x\n".repeat(50_001);
    let laughs = format!("FROM scratch\nENV A=xxxxxxxxxx\n{}", "ENV A=$A$A$A$A$A$A$A$A$A$A\n".repeat(8));
    let mounts = format!("FROM scratch\nRUN {}x\n", "--mount=type=tmpfs,target=/t \\\n".repeat(1001));
    let arguments = format!("ARG {}a\nFROM scratch\n", "a=1 \\\n".repeat(3)) + "XYZZY\n";
    let rows: [(&str, &[&str]); 16] = [
        (&long, &["Dockerfile:2", "65535"]),
        (&deep, &["Dockerfile:2", "nest deeper than 200", "\"A\""]),
        (&many, &["Dockerfile:50001", "limit of 50000 instructions"]),
        (&mounts, &["Dockerfile:1002:1", "line 2", "limit of 1000 mounts"]),
        (&arguments, &["unknown instruction: XYZZY", "Dockerfile:6"]),
        ("FROM scratch\nRUN a\0b\n", &["Dockerfile:2", "NUL"]),
        ("FROM scratch\nCOPY <<../x /x\ny\n../x\n", &["Dockerfile:2", "single path component"]),
        ("FROM scratch\nCOPY <<EOF /x\ny\n", &["Dockerfile:2", "unterminated heredoc", "`EOF`"]),
        (
            "FROM scratch AS a\nCOPY --from=b / /\nFROM scratch AS b\nCOPY --from=a / /\n",
            &["Dockerfile:2", "circular dependency", "Dockerfile:4"],
        ),
        (&laughs, &["Dockerfile:8", "1048576 bytes", "\"A\""]),
        ("FROM scratch\nCOPY own[ /x\n", &["Dockerfile:2", "own["]),
        ("FROM scratch\nADD file:///etc/passwd /x\n", &["Dockerfile:2", "not found"]),
        ("FROM scratch\nADD ftp://127.0.0.1/x /x\n", &["Dockerfile:2", "not found"]),
        ("# syntax=evil/frontend\nFROM scratch\nCOPY own /\n", &["Dockerfile:1", "not supported"]),
        ("FROM scratch\nONBUILD FROM scratch\n", &["Dockerfile:2", "ONBUILD"]),
        ("FROM scratch\nONBUILD ONBUILD RUN x\n", &["Dockerfile:2", "ONBUILD"]),
    ];
    for (dockerfile, said) in rows {
        let mut outcome = lab.build(dockerfile, &[("own", "own")], &[]).exits(1);
        for text in said {
            outcome = outcome.says(text);
        }
        outcome.says_not("panicked");
    }
}

/// A directory deeper than any path would be walked by recursion: an error, not the end of the stack.
#[test]
fn deep_directories_end_at_the_longest_path() {
    let lab = Lab::empty();
    let context = lab.context("FROM scratch\nCOPY . /\n", &[("ok", "")]);
    let open = |at: &std::os::fd::OwnedFd, name: &str| {
        rustix::fs::openat(at, name, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).expect("a directory")
    };
    let mut deep = std::os::fd::OwnedFd::from(std::fs::File::open(&context).expect("a directory"));
    for _ in 0..2500 {
        rustix::fs::mkdirat(&deep, "a", rustix::fs::Mode::RWXU).expect("a directory");
        deep = open(&deep, "a");
    }
    lab.build_dir(&context, &["-o", "type=tar,dest=/dev/null"]).exits(1).says("limit of 4096 bytes for paths");
    let dockerfile = format!("FROM scratch\nCOPY ok /\nWORKDIR {}\n", "/a".repeat(30_000));
    lab.build(&dockerfile, &[("ok", "")], &["-o", "type=tar,dest=/dev/null"]).exits(1).says("limit of 4096 bytes");
    // The lab's own clean-up need not go so deep.
    assert!(lab.command("rm").arg("-rf").arg(context.join("a")).status().expect("rm runs").success());
}

/// A secret that grows, or has no end, is read up to the limit.
#[test]
fn secrets_have_a_limit_while_they_are_read() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox\nRUN --mount=type=secret,id=a true";
    lab.build(dockerfile, &[], &["--secret", "id=a,src=/dev/zero"]).exits(1).says("larger than the limit of 500 KiB");
}

/// X48: paths and links of the context end at its root.
#[test]
fn x48_sources_stay_in_the_context() {
    let lab = Lab::empty();
    for source in ["../canary", "/../../canary", "up/canary", "file", "absolute"] {
        let (context, canary) = beside_canary(&lab, &format!("FROM scratch\nCOPY {source} /x\n"));
        symlink("..", context.join("up")).expect("a link");
        symlink("../canary", context.join("file")).expect("a link");
        symlink(&canary, context.join("absolute")).expect("a link");
        let out = lab.path().join("out.tar");
        let output = format!("type=tar,dest={}", path(&out));
        lab.rbuild(["build", "-o", &output, &path(&context)]).exits(1).says("Dockerfile:2").says("not found");
        assert!(!out.exists(), "{source}: nothing is left of a build that failed");
    }
}

/// X48, X54: what lies in the context is taken as it is: links as links, pipes as pipes.
#[test]
fn x54_links_and_pipes_are_taken_as_they_are() {
    let lab = Lab::empty();
    let (context, canary) = beside_canary(&lab, "FROM scratch\nCOPY . /\n");
    symlink(&canary, context.join("link")).expect("a link");
    let pipe = context.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let out = lab.path().join("out.tar");
    let output = format!("type=tar,dest={}", path(&out));
    lab.rbuild(["build", "-o", &output, &path(&context)]).ok();
    let tar = std::fs::read(&out).expect("a tar");
    assert!(!tar.windows(CANARY.len()).any(|text| text == CANARY.as_bytes()));
    lab.rbuild(["build", "-f", &path(&context.join("none")), &path(&context)]).exits(1).says("no such file");
}

/// X50: nothing of an address reaches git as an option or another protocol.
#[test]
fn x50_addresses_are_no_options() {
    let lab = Lab::empty();
    let made = lab.path().join("made");
    let touch = format!("ext::sh -c touch% {}", path(&made));
    for (address, said) in [
        ("https://127.0.0.1:9/x.git#-upload-pack=touch", "invalid git ref"),
        ("https://127.0.0.1:9/x.git#--output=x:sub", "invalid git ref"),
        (touch.as_str(), "not found"),
    ] {
        lab.rbuild(["build", address]).exits(1).says(said);
        assert!(!made.exists(), "{address}");
    }
}

/// X55: results do not go through links that lie at their destination.
#[test]
fn x55_results_do_not_follow_links() {
    let lab = Lab::empty();
    let (context, canary) = beside_canary(&lab, "FROM scratch\nCOPY own /file\n");
    let out = lab.path().join("out");
    std::fs::create_dir(&out).expect("a directory");
    symlink(&canary, out.join("file")).expect("a link");
    let id = lab.path().join("id");
    for (flag, place) in [("--iidfile", &id), ("--metadata-file", &id)] {
        let _ = std::fs::remove_file(place);
        symlink(&canary, place).expect("a link");
        lab.rbuild(["build", flag, &path(place), &path(&context)]).ok();
        untouched(&canary);
        assert!(std::fs::read(place).expect("a result").len() > 10);
    }
    let output = format!("type=local,dest={}", path(&out));
    lab.rbuild(["build", "-o", &output, &path(&context)]).ok();
    untouched(&canary);
    assert_eq!(std::fs::read_to_string(out.join("file")).expect("the result"), "own");
}
