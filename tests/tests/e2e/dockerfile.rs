//! What instructions do to files and environments: each case is a Dockerfile and the files it must make.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::lab::{Lab, is_root};

/// Builds and compares files of the result; a path with the text `-` must be missing.
#[track_caller]
fn check(lab: &Lab, dockerfile: &str, files: &[(&str, &str)], args: &[&str], expected: &[(&str, &str)]) {
    let out = lab.files(dockerfile, files, args);
    for (name, text) in expected {
        let found = std::fs::read_to_string(out.join(name));
        match *text {
            "-" => assert!(found.is_err(), "{name} should be missing: {dockerfile}"),
            text => {
                assert_eq!(found.as_deref().map(str::trim_end).unwrap_or("(missing)"), text, "{name}: {dockerfile}")
            }
        }
    }
}

/// A last stage that has only what a step printed to /out.
fn printing(stage: &str) -> String {
    format!("{stage}\nFROM scratch\nCOPY --from=p /out /\n")
}

#[test]
fn copies() {
    let lab = Lab::empty();
    let files = &[
        ("a.txt", "A"),
        ("b.txt", "B"),
        ("d/c.txt", "C"),
        ("d/e/f.md", "F"),
        ("sp ace", "S"),
        (".dockerignore", "d/e\n*.log\n!keep.log\n"),
        ("x.log", "X"),
        ("keep.log", "K"),
    ];
    for (dockerfile, expected) in [
        ("FROM scratch\nCOPY a.txt /x", &[("x", "A")][..]),
        ("FROM scratch\nCOPY a.txt /x/", &[("x/a.txt", "A")]),
        ("FROM scratch\nCOPY *.txt /t/", &[("t/a.txt", "A"), ("t/b.txt", "B"), ("t/c.txt", "-")]),
        ("FROM scratch\nCOPY d /", &[("c.txt", "C"), ("e", "-"), ("d", "-")]),
        ("FROM scratch\nCOPY . /", &[("x.log", "-"), ("keep.log", "K"), ("d/c.txt", "C"), ("d/e/f.md", "-")]),
        ("FROM scratch\nCOPY [\"sp ace\", \"/to here\"]", &[("to here", "S")]),
        ("FROM scratch\nCOPY --parents d/c.txt a.txt /p/", &[("p/d/c.txt", "C"), ("p/a.txt", "A")]),
        (
            "FROM scratch\nCOPY --exclude=*.txt d /n/\nCOPY --exclude=d . /m/",
            &[("n/c.txt", "-"), ("m/a.txt", "A"), ("m/d", "-")],
        ),
        ("FROM scratch\nWORKDIR /w\nCOPY a.txt .\nCOPY b.txt sub/", &[("w/a.txt", "A"), ("w/sub/b.txt", "B")]),
        ("FROM scratch AS one\nCOPY a.txt /in\nFROM scratch\nCOPY --from=one /in /out", &[("out", "A"), ("in", "-")]),
        ("FROM scratch\nCOPY a.txt /in\nFROM scratch\nCOPY --from=0 in /out", &[("out", "A")]),
        ("FROM scratch AS One\nCOPY a.txt /in\nFROM one\nCOPY b.txt /b", &[("in", "A"), ("b", "B")]),
        ("FROM scratch\nCOPY a.txt /x\nCOPY --link b.txt /x", &[("x", "B")]),
        ("FROM scratch\nCOPY --link a.txt /l/1\nCOPY --link b.txt /l/2", &[("l/1", "A"), ("l/2", "B")]),
        ("FROM scratch\nCOPY <<one <<two /h/\n1\none\n2\ntwo\n", &[("h/one", "1"), ("h/two", "2")]),
        (
            "FROM scratch\nENV v=value\nCOPY <<EOF /expanded\n$v\nEOF\nCOPY <<'EOF' /literal\n$v\nEOF\n",
            &[("expanded", "value"), ("literal", "$v")],
        ),
        (
            "FROM scratch\nENV v=value\nCOPY <<EOF /escaped\n\\$v\nEOF\nCOPY <<-EOF /tabs\n\t\tin\n\tEOF\n",
            &[("escaped", "$v"), ("tabs", "in")],
        ),
        ("# escape=`\nFROM scratch\nCOPY a.txt `\n  # a comment between\n  /x", &[("x", "A")]),
        ("FROM scratch\nCOPY a.txt \\\n\n  # a comment and an empty line\n  /x", &[("x", "A")]),
        ("FROM scratch AS not-needed\nCOPY missing /\nFROM scratch\nCOPY a.txt /x", &[("x", "A")]),
        ("ARG name=a\nFROM scratch\nARG name\nCOPY ${name}.txt /x", &[("x", "A")]),
    ] {
        check(&lab, dockerfile, files, &[], expected);
    }
}

// items: T02
#[test]
fn empty_wildcards_are_fine_beside_others_and_missing_files_are_not() {
    let lab = Lab::empty();
    lab.build("FROM scratch\nCOPY a no* /d/", &[("a", "A")], &[]).ok();
    lab.build("FROM scratch\nCOPY no /d/", &[("a", "A")], &[])
        .exits(1)
        .says("/no")
        .says("not found")
        .says("COPY no /d/");
}

#[test]
fn archives_are_unpacked_by_add_and_not_by_copy() {
    let lab = Lab::empty();
    let context = lab.context(
        "FROM scratch\nADD t.tar.gz /add/\nCOPY t.tar.gz /copy/\nADD --unpack=false t.tar.gz /kept/\n",
        &[("in.txt", "I")],
    );
    let tar =
        std::process::Command::new("tar").current_dir(&context).args(["-czf", "t.tar.gz", "in.txt"]).status().unwrap();
    assert!(tar.success());
    let out = lab.files_of(&context, &[]);
    assert_eq!(std::fs::read_to_string(out.join("add/in.txt")).unwrap(), "I");
    assert!(
        out.join("copy/t.tar.gz").exists() && out.join("kept/t.tar.gz").exists() && !out.join("add/t.tar.gz").exists()
    );
}

/// An archive's `./` says nothing about the directory that it is unpacked to.
// items: D001 D002
#[test]
fn roots_of_archives_leave_the_destination_alone() {
    let lab = Lab::empty();
    let context = lab.context(
        "FROM scratch\nCOPY --chmod=711 d /there\nADD t.tar /there/\nADD t.tar /made/\n",
        &[("d/x", "X"), ("packed/in.txt", "I")],
    );
    std::fs::set_permissions(context.join("packed"), std::fs::Permissions::from_mode(0o2700)).unwrap();
    let words = ["-C", "packed", "-cf", "t.tar", "."];
    assert!(std::process::Command::new("tar").current_dir(&context).args(words).status().unwrap().success());
    let out = lab.files_of(&context, &[]);
    for (name, mode) in [("there", 0o711), ("made", 0o755)] {
        assert!(out.join(name).join("in.txt").exists());
        assert_eq!(std::fs::metadata(out.join(name)).unwrap().permissions().mode() & 0o7777, mode, "{name}");
    }
}

// items: T03 C012 C013
#[test]
fn modes_and_owners() {
    let lab = Lab::new();
    let stage = r#"FROM busybox AS p
COPY --chmod=640 --chown=app:extra f /1
COPY --chown=1234 f /2
COPY --chmod=4755 f /3
COPY --chmod=go-r f /5
COPY --link --chmod=600 f /6
ADD --chown=app d /d
RUN mkdir -m 700 /own && chown 7:8 /own
COPY d /own
RUN stat -c '%n %a %u:%g' /1 /2 /3 /5 /6 /d /d/x /own /own/x > /out"#;
    let expected = "/1 640 1000:2000\n/2 644 1234:1234\n/3 4755 0:0\n/5 600 0:0\n/6 600 0:0\n/d 755 1000:1000\n/d/x 644 1000:1000\n/own 700 7:8\n/own/x 644 0:0";
    check(&lab, &printing(stage), &[("f", "F"), ("d/x", "X")], &[], &[("out", expected)]);
}

// items: A004 A005 A007 F038 F039 F040 S013 R001 R003 G011
#[test]
fn runs() {
    let lab = Lab::new();
    for (stage, expected) in [
        ("FROM busybox AS p\nRUN echo shell > /out", "shell"),
        ("FROM busybox AS p\nRUN [\"sh\", \"-c\", \"echo $0 > /out\", \"exec\"]", "exec"),
        ("FROM busybox AS p\nRUN <<EOF\necho one > /out\necho two >> /out\nEOF", "one\ntwo"),
        ("FROM busybox AS p\nRUN <<EOF\n#!/bin/awk -f\nBEGIN { print 6 * 7 > \"/out\" }\nEOF", "42"),
        ("FROM busybox AS p\nRUN cat > /out <<EOF\nto standard input\nEOF", "to standard input"),
        ("FROM busybox AS p\nSHELL [\"sh\", \"-ec\"]\nRUN echo $- | grep -o e > /out", "e"),
        ("FROM busybox AS p\nWORKDIR /a\nWORKDIR b\nRUN pwd > /out", "/a/b"),
        (
            "FROM busybox AS p\nUSER app\nRUN id > /tmp/id\nUSER 0\nRUN mv /tmp/id /out",
            "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)",
        ),
        ("FROM busybox AS p\nUSER 4321\nRUN id -u > /tmp/i; id -g >> /tmp/i\nUSER root\nRUN mv /tmp/i /out", "4321\n0"),
        (
            "FROM busybox AS p\nWORKDIR /w/x\nRUN cd / && rm -r /w\nRUN stat -c '%a %u' /w /w/x . | sort -u > /out",
            "755 0",
        ),
        ("FROM busybox AS p\nUSER app:extra\nRUN id -g > /tmp/i\nUSER root\nRUN mv /tmp/i /out", "2000"),
        (
            "FROM busybox AS p\nUSER app\nWORKDIR /work/here\nRUN stat -c %u /work/here > out && cat out > /tmp/o\nUSER 0\nRUN cp /tmp/o /out",
            "1000",
        ),
        ("FROM busybox AS p\nENV a=1\nENV a=2 b=$a\nRUN echo $a$b > /out", "21"),
        ("FROM busybox AS p\nENV a='x  y' b=\"$HOME\" c=\\$d\nRUN echo \"$a|$b|$c\" > /out", "x  y||$d"),
        ("FROM busybox AS p\nENV old style value\nRUN echo $old > /out", "style value"),
        ("FROM busybox AS p\nARG a=1\nENV a=2\nRUN echo $a > /out", "2"),
        ("FROM busybox AS p\nENV a=1\nARG a=2\nRUN echo $a > /out", "2"),
        ("FROM busybox AS p\nARG a\nRUN env | grep -c ^a= > /out || true", "0"),
        ("FROM busybox AS p\nARG a=\nRUN env | grep ^a= > /out", "a="),
        ("FROM busybox AS base\nARG a=up\nFROM base AS p\nRUN echo $a > /out", "up"),
        ("ARG g=global\nFROM busybox AS p\nRUN echo \"[$g]\" > /out", "[]"),
        (
            "FROM busybox AS p\nARG TARGETOS\nARG TARGETPLATFORM\nRUN echo $TARGETOS ${TARGETPLATFORM%/*} > /out",
            "linux linux",
        ),
        (
            "FROM busybox AS p\nENV v=foo.tar.gz\nENV w=${v%%.*} x=${v#*.} y=${v/foo/bar} z=${u:-${v%.gz}}\nRUN echo $w $x $y $z > /out",
            "foo tar.gz bar.tar.gz foo.tar",
        ),
        ("FROM busybox AS b\nONBUILD RUN echo triggered > /out\nFROM b AS p", "triggered"),
        ("FROM busybox AS b\nONBUILD RUN echo $x >> /out\nFROM b AS c\nENV x=2\nFROM c AS p", ""),
        (
            "FROM busybox AS p\nRUN rm /bin/vi && mkdir -p /d/e && touch /d/f\nRUN rm -r /d && mkdir /d && touch /d/g\nRUN ls /d > /out; ls /bin/vi >> /out 2>/dev/null || true",
            "g",
        ),
        ("FROM busybox AS p\nRUN true | false; echo $? > /out", "1"),
        ("FROM busybox AS p\nRUN cat > /out; echo $? >> /out", "0"),
    ] {
        check(&lab, &printing(stage), &[], &[], &[("out", expected)]);
    }
}

// items: A003 A018 G015 G005
#[test]
fn build_args_and_targets() {
    let lab = Lab::new();
    let dockerfile = "ARG base=busybox\nFROM $base AS one\nARG v=${unset:?no default}\nRUN echo $v > /out\nFROM scratch AS two\nCOPY --from=one /out /\nFROM two AS three\nCOPY --from=nowhere /x /\n";
    check(&lab, dockerfile, &[], &["--build-arg", "v=given", "--target=TWO"], &[("out", "given")]);
    let unset = "FROM busybox AS p\nARG nowhere_set=default\nRUN echo $nowhere_set > /out\nFROM scratch\nCOPY --from=p /out /\n";
    check(&lab, unset, &[], &["--build-arg", "nowhere_set"], &[("out", "default")]);
    lab.build(dockerfile, &[], &["--target=two"]).exits(1).says("no default");
    lab.build(dockerfile, &[], &["--target=tow"]).exits(1).says("tow").says("two");
    let context =
        lab.context("FROM busybox AS p\nARG v\nRUN echo $v > /out\nFROM scratch\nCOPY --from=p /out /\n", &[]);
    let mut command = lab.command(crate::lab::binary());
    command.env("v", "inherited").args(["build", "-o", "inherited", "--build-arg", "v"]).arg(&context);
    crate::lab::run(&mut command, b"").ok();
    assert_eq!(std::fs::read_to_string(lab.at("inherited/out")).unwrap(), "inherited\n");
}

#[test]
fn named_contexts_and_other_ignore_files() {
    let lab = Lab::empty();
    let other = lab.context("", &[("o", "other")]);
    let argument = format!("extra={}", other.display());
    check(&lab, "FROM scratch\nCOPY --from=extra o /\n", &[], &["--build-context", &argument], &[("o", "other")]);
    let files = &[("a", "A"), ("b", "B"), (".dockerignore", "a"), ("Dockerfile.dockerignore", "b")];
    check(&lab, "FROM scratch\nCOPY . /\n", files, &[], &[("a", "A"), ("b", "-")]);
}

// items: C017 C018
#[test]
fn links_and_strange_files_survive() {
    let lab = Lab::new();
    let out = lab.files(
        r#"FROM busybox AS p
WORKDIR /t
RUN echo x > file && ln file hard && ln -s file soft && ln -s nowhere dangling && mkfifo fifo \
 && dd if=/dev/zero of=sparse bs=1 count=1 seek=10000000 2>/dev/null && printf '' > "$(printf 'n\344me')" && mkdir sub && chmod 2755 sub
FROM scratch
COPY --from=p /t /t
"#,
        &[],
        &[],
    );
    let t = out.join("t");
    assert_eq!(std::fs::read_link(t.join("soft")).unwrap().to_str(), Some("file"));
    assert_eq!(std::fs::read_link(t.join("dangling")).unwrap().to_str(), Some("nowhere"));
    let (file, hard) = (std::fs::metadata(t.join("file")).unwrap(), std::fs::metadata(t.join("hard")).unwrap());
    assert_eq!(file.ino(), hard.ino(), "hard links stay");
    assert_eq!(std::fs::metadata(t.join("sparse")).unwrap().len(), 10_000_001);
    assert_eq!(std::fs::metadata(t.join("sub")).unwrap().permissions().mode() & 0o7777, 0o2755);
    let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"n\xe4me");
    assert!(t.join(name).exists(), "names need not be UTF-8");
    if is_root() {
        assert!(t.join("fifo").exists());
    }
}

// items: A010 A012 R002
#[test]
fn proxies_of_dockers_configuration_reach_steps_and_leave_no_trace() {
    let lab = Lab::new();
    let context = lab.context(
        "FROM busybox AS p\nRUN env | grep -i proxy= | sort > /out; cat /proc/sys/kernel/random/uuid > /id\nFROM scratch\nCOPY --from=p /out /id /\n",
        &[],
    );
    let configure = |text: &str| std::fs::write(lab.at("config").join("config.json"), text).unwrap();
    let read = |args: &[&str]| {
        let out = lab.files_of(&context, args);
        ["out", "id"].map(|name| std::fs::read_to_string(out.join(name)).unwrap())
    };
    configure(r#"{"proxies":{"default":{"httpProxy":"http://one.example:1","noProxy":"n.example"}}}"#);
    let first = read(&["--build-arg", "no_proxy=own.example", "--build-arg", "all_proxy=a"]);
    let expected = "ALL_PROXY=a\nHTTP_PROXY=http://one.example:1\nNO_PROXY=own.example\nall_proxy=a\nhttp_proxy=http://one.example:1\nno_proxy=own.example\n";
    assert_eq!(first[0], expected);
    // Other proxies are no reason to run again, nor is there one in the image.
    configure(r#"{"proxies":{"default":{"httpProxy":"http://two.example:2"}}}"#);
    assert_eq!(read(&[]), first);
    lab.build("FROM busybox\nRUN true\n", &[], &["-t", "app"]).ok();
    assert!(!lab.inspect("app").to_string().contains("two.example"));
    configure("{ broken");
    lab.build("FROM scratch\nCOPY Dockerfile /\n", &[], &[]).ok().says("no proxies for the build");
}

/// The files that a step's own mounts need are no part of the image.
// items: R005 T05
#[test]
fn steps_leave_only_what_they_wrote() {
    let lab = Lab::new();
    let found = lab.files(
        "FROM busybox AS p\nRUN touch -d @1000 / /etc && true\nRUN --mount=type=cache,target=/c/d --mount=type=tmpfs,target=/t --mount=type=bind,target=/b true\nRUN find / -xdev -type d -maxdepth 2 -name '[bct]' > /found; ls -A /dev >> /found2; stat -c %Y /etc > /times\nFROM scratch\nCOPY --from=p /found /times /\n",
        &[],
        &[],
    );
    let read = |name: &str| std::fs::read_to_string(found.join(name)).unwrap();
    assert_eq!(read("found"), "");
    assert_eq!(read("times"), "1000\n", "stubs of resolv.conf and hosts leave no new time");
}

/// Whatever a step mounts: if it writes nothing, its layer has nothing.
// items: R005 R015 T05
#[test]
fn mounts_alone_make_an_empty_layer() {
    let lab = Lab::new();
    std::fs::write(lab.at("s"), "pw").unwrap();
    let mounts = "--mount=type=cache,target=/etc/a/b --mount=type=tmpfs,target=/fresh/t --mount=target=/var/m --mount=source=Dockerfile,target=/etc/file --mount=type=secret,id=s,target=/etc/secret --mount=type=secret,id=s --mount=type=cache,target=/have/empty";
    let dockerfile = format!(
        "FROM busybox\nRUN mkdir -p /have/empty && touch -d @1000 /have/empty /have /etc && touch -a -d @2000 /have\nRUN true\nRUN {mounts} true\nRUN {mounts} touch /have/new\nRUN stat -c '%n %Y' /have/empty /have/* /etc > /times; find /etc/a /fresh /var/m /etc/file /etc/secret /run/secrets > /left 2>/dev/null; true\n"
    );
    lab.build(&dockerfile, &[], &["-t", "app", "--secret", "id=s,src=s"]).ok();
    let image = lab.inspect("app");
    let layers = image["RootFS"]["Layers"].as_array().unwrap();
    assert_eq!(layers[layers.len() - 4], layers[layers.len() - 3], "a step with mounts adds what one without adds");
    let shown = lab.say("run --rm --network=none app cat /left /times").ok();
    assert!(shown.stdout.starts_with("/have/empty 1000\n/have/empty 1000\n/have/new "), "{}", shown.stdout);
    assert!(shown.stdout.ends_with("/etc 1000\n"), "{}", shown.stdout);
}
