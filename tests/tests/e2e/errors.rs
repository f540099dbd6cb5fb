//! Errors of Dockerfiles: the line, the reason, a hint; nothing runs.

use crate::lab::Lab;

// items: F013
#[test]
fn mistakes_are_shown_with_their_line() {
    let lab = Lab::new();
    for (dockerfile, said) in [
        ("FROM busybox\nRUM true\n", &["RUM", "RUN"][..]),
        ("FROM busybox\nCOPY onlyone\n", &["COPY onlyone"]),
        ("FROM busybox\nCOPY --form=x a b\n", &["--form", "from?"]),
        ("FROM busybox\nRUN --mount=type=tmp,target=/x true\n", &["tmp", "tmpfs"]),
        ("FROM busybox\nRUN --mount=typ=tmpfs,target=/x true\n", &["typ", "type"]),
        ("FROM busybox\nRUN --mount=type=bind,target=/ true\n", &["mount target"]),
        ("FROM busybox\nRUN --mount=type=secret,id=s,required true\n", &["secret"]),
        ("FROM busybox\nRUN --mount=type=ssh,required true\n", &["ssh"]),
        ("RUN true\n", &["RUN true", "FROM"]),
        ("", &["empty"]),
        ("FROM busybox AS a\nCOPY --from=b x /\nFROM busybox AS b\nFROM a\n", &["\"b\"", "before"]),
        ("FROM\n", &["FROM"]),
        ("FROM busybox as 1x\n", &["1x"]),
        ("FROM $nothing\n", &["FROM $nothing"]),
        ("FROM busybox\nENV a=${b:?must be set}\n", &["must be set"]),
        ("FROM busybox\nENV a=${b\n", &["ENV a=${b"]),
        ("FROM busybox\nEXPOSE 70000\n", &["70000"]),
        ("FROM busybox\nSHELL sh\n", &["SHELL"]),
        ("FROM busybox\nSTOPSIGNAL NOPE\n", &["NOPE"]),
        ("FROM busybox\nHEALTHCHECK TRUE\n", &["TRUE"]),
        ("FROM busybox\nONBUILD FROM x\n", &["ONBUILD"]),
        ("FROM busybox\nRUN <<EOF\nnever ends\n", &["EOF"]),
        ("FROM busybox\nRUN --security=insecure true\n", &["security.insecure"]),
        ("FROM busybox\nRUN --network=host true\n", &["network.host"]),
    ] {
        let mut outcome = lab.build(dockerfile, &[], &[]).exits(1);
        for text in said {
            outcome = outcome.says(text);
        }
        outcome.says_not("panicked");
    }
}

#[test]
fn a_caret_points_at_the_mistake() {
    let lab = Lab::empty();
    lab.build("FROM scratch\n\nCOPPY a b\n", &[], &[]).exits(1).says("COPPY a b").says("^").says("COPY").says("3");
}

// items: R007 R016
#[test]
fn failing_step_says_what_failed_and_shows_its_log() {
    let lab = Lab::new();
    let outcome =
        lab.build("FROM busybox\nRUN echo before && echo to-stderr >&2 && exit 7\n", &[], &["-t", "broken"]).exits(1);
    outcome.says("exit code: 7").says("did not complete successfully").says("before").says("to-stderr");
    lab.say("inspect broken").exits(1);
    lab.build("FROM scratch\nCOPY Dockerfile /\nRUN true\n", &[], &[]).exits(1).says("RUN true").says("/bin/sh");
    lab.build("FROM busybox\nRUN [\"/not/there\"]\n", &[], &[]).exits(1).says("/not/there");
    lab.build("FROM busybox\nUSER nobody-here\nRUN true\n", &[], &[]).exits(1).says("nobody-here");
    lab.build("FROM busybox\nRUN kill -9 $$\n", &[], &[]).exits(1).says("137");
}

// items: K012
#[test]
fn failed_steps_are_not_cached_and_finished_ones_are() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /id\nARG ok=false\nRUN cat /id && $ok\n";
    let failed = lab.build(dockerfile, &[], &[]).exits(1);
    let id = failed
        .stderr
        .lines()
        .find_map(|line| line.split_whitespace().find(|word| word.len() == 36 && word.matches('-').count() == 4));
    let id = id.unwrap_or_else(|| panic!("no id in the log: {}", failed.stderr)).to_owned();
    lab.build(dockerfile, &[], &["--build-arg", "ok=true"]).ok().says(&id);
}

#[test]
fn control_bytes_do_not_reach_the_terminal() {
    let lab = Lab::empty();
    let outcome = lab.build("FROM scratch\nCOPY \u{1b}]0;owned\u{7} /x\n", &[], &[]).exits(1);
    assert!(!outcome.stderr.contains('\u{1b}') && !outcome.stderr.contains('\u{7}'), "{:?}", outcome.stderr);
    lab.rbuild(["inspect", "\u{1b}[31m"]).exits(1).says_not("\u{1b}");
}
