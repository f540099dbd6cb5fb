//! `RUN --mount`: binds, caches, memory, secrets and agents; nothing of them stays in the image.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use crate::lab::{Lab, path};

// items: M004 M005 M016 M007
#[test]
fn binds() {
    let lab = Lab::new();
    let files = &[("f", "F"), ("d/x", "X"), (".dockerignore", "hidden"), ("hidden", "H")];
    for (flags, script, expected) in [
        ("--mount=target=/m", "cat /m/f; ls /m/hidden 2>/dev/null || echo no", "Fno"),
        ("--mount=type=bind,source=d,target=/m", "ls /m", "x"),
        ("--mount=type=bind,source=f,target=/etc/f", "cat /etc/f", "F"),
        ("--mount=target=/m", "touch /m/new 2>/dev/null || echo read-only", "read-only"),
        ("--mount=target=/m,rw", "echo changed > /m/f && cat /m/f", "changed"),
        ("--mount=from=busybox,source=/etc,target=/m", "grep -c root /m/passwd", "1"),
        ("--mount=source=d,target=/m --mount=source=f,target=/n", "cat /m/x /n", "XF"),
        ("--mount=target=/m --mount=source=f,target=/m/d/x", "cat /m/f /m/d/x", "FF"),
        ("--mount=source=.,target=/tmp/m --mount=source=f,target=/tmp/f", "cat /tmp/m/d/x /tmp/f", "XF"),
        ("--mount=type=tmpfs,target=/t", "touch /t/x && ls /t", "x"),
        ("--mount=type=tmpfs,target=/dev/shm,size=12m", "df -k /dev/shm | awk 'END {print $2}'", "12288"),
    ] {
        let dockerfile =
            format!("FROM busybox AS p\nRUN {flags} ({script}) > /out\nFROM scratch\nCOPY --from=p /out /\n");
        let out = lab.files(&dockerfile, files, &[]);
        assert_eq!(std::fs::read_to_string(out.join("out")).unwrap().trim(), expected, "{flags}");
    }
}

// items: M005
#[test]
fn written_binds_change_neither_context_nor_image() {
    let lab = Lab::new();
    let context = lab.context("FROM busybox AS p\nRUN --mount=target=/m,rw echo changed > /m/f && touch /m/new\nRUN --mount=target=/m cat /m/f > /out\nFROM scratch\nCOPY --from=p /out /\n", &[("f", "F")]);
    let out = lab.files_of(&context, &[]);
    assert_eq!(std::fs::read_to_string(out.join("out")).unwrap(), "F");
    assert_eq!(std::fs::read_to_string(context.join("f")).unwrap(), "F");
    assert!(!context.join("new").exists());
}

// items: M008 M015 T09
#[test]
fn caches_keep_what_is_written_between_builds() {
    let lab = Lab::new();
    let build = |mount: &str, n: u32, args: &[&str]| {
        let dockerfile = format!(
            "FROM busybox AS p\nARG N\nRUN --mount=type=cache,{mount} echo $N >> /c/log && cat /c/log > /out\nFROM scratch\nCOPY --from=p /out /\n"
        );
        let number = format!("N={n}");
        let out = lab.files(&dockerfile, &[], &[&["--build-arg", &number], args].concat());
        std::fs::read_to_string(out.join("out")).unwrap().replace('\n', " ").trim().to_owned()
    };
    assert_eq!(build("target=/c", 1, &[]), "1");
    assert_eq!(build("target=/c", 2, &[]), "1 2");
    assert_eq!(build("target=/c,id=other", 3, &[]), "3");
    assert_eq!(build("target=/c,sharing=locked", 4, &[]), "1 2 4");
    assert_eq!(build("target=/c,id=other", 5, &["--build-arg", "BUILDKIT_CACHE_MOUNT_NS=ns"]), "5");
    assert_eq!(build("target=/c", 6, &["--no-cache"]), "6", "--no-cache begins with an empty cache");
    assert_eq!(build("target=/c,mode=0770,uid=5", 7, &[]), "7", "another directory to begin with is another cache");
    assert_eq!(build("target=/c,mode=0770,uid=5", 8, &[]), "7 8");
    assert_eq!(build("target=/c,mode=0770,uid=5", 9, &["--no-cache"]), "9", "such a cache is emptied, too");
    assert_eq!(build("target=/c", 10, &[]), "6 10", "and the other one is not");
    lab.say("prune -af").ok();
    lab.rbuild(["images", "-q"]).ok().prints("");
}

// items: M010
#[test]
fn caches_have_owner_and_mode_and_are_not_in_the_image() {
    let lab = Lab::new();
    let out = lab.files(
        "FROM busybox AS p\nRUN --mount=type=cache,target=/c,uid=1000,gid=2000,mode=750 stat -c '%u %g %a' /c > /out && touch /c/x\nRUN ls -A /c >> /out 2>&1 || true\nFROM scratch\nCOPY --from=p /out /\n",
        &[],
        &[],
    );
    let text = std::fs::read_to_string(out.join("out")).unwrap();
    assert_eq!(text.lines().next(), Some("1000 2000 750"));
    assert!(!text.contains('x') || text.contains("No such"), "{text}");
}

// items: M009
#[test]
fn locked_and_private_caches_are_used_by_one_step_at_a_time() {
    let lab = Lab::new();
    for sharing in ["locked", "private"] {
        let step = format!(
            "RUN --mount=type=cache,target=/c,sharing={sharing} test ! -e /c/busy && touch /c/busy && sleep 0.2 && rm /c/busy && touch"
        );
        let dockerfile = format!(
            "FROM busybox AS a\n{step} /a\nFROM busybox AS b\n{step} /b\nFROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n"
        );
        lab.build(&dockerfile, &[], &[]).ok();
    }
}

// items: M009 M013
#[test]
fn caches_in_each_other_and_twice_in_a_step() {
    let lab = Lab::new();
    let nested = "RUN --mount=type=cache,target=/c/d --mount=type=cache,target=/c/d/e touch /c/d/f /c/d/e/g &&";
    let twice = |sharing: &str| {
        format!(
            "RUN --mount=type=cache,id=t,target=/1,sharing={sharing} --mount=type=cache,id=t,target=/2,sharing={sharing} echo {sharing} > /1/f && cat /2/f"
        )
    };
    let dockerfile = format!(
        "FROM busybox AS a\n{nested} ls /c/d /c/d/e > /1\nFROM busybox AS b\n{nested} echo\nFROM busybox AS c\n{} > /out1\n{} > /out2\n{} > /out3\nFROM scratch\nCOPY --from=a /1 /\nCOPY --from=b /bin/sh /\nCOPY --from=c /out* /\n",
        twice("shared"),
        twice("locked"),
        twice("private")
    );
    for _ in 0..3 {
        let out = lab.files(&dockerfile, &[], &["--no-cache"]);
        let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
        assert!(read("1").contains("/c/d/e:\ng"), "{}", read("1"));
        assert_eq!(["out1", "out2", "out3"].map(read), ["shared\n", "locked\n", "private\n"]);
    }
}

// items: M009 M010
#[test]
fn caches_begin_with_the_files_they_come_from() {
    let lab = Lab::new();
    let build = |seed: &str, n: u32| {
        let dockerfile = format!(
            "FROM busybox AS seed\nRUN mkdir -m 750 /s && echo {seed} > /s/f\nFROM busybox AS p\nRUN --mount=type=cache,from=seed,source=s,target=/c,uid=9,mode=0700 echo {n} >> /c/log && cat /c/f /c/log > /out && stat -c '%a %u' /c >> /out\nFROM scratch\nCOPY --from=p /out /\n"
        );
        std::fs::read_to_string(lab.files(&dockerfile, &[], &[]).join("out")).unwrap().replace('\n', " ")
    };
    assert_eq!(build("one", 1), "one 1 750 0 ", "owner and mode are those of the source");
    assert_eq!(build("one", 2), "one 1 2 750 0 ");
    assert_eq!(build("two", 3), "two 3 750 0 ", "from other files it is another cache");
    assert_eq!(build("one", 4), "one 1 2 4 750 0 ");
}

// items: M006 M007
#[test]
fn binds_count_by_what_they_select() {
    let lab = Lab::new();
    let nested = lab.context(
        "FROM busybox AS p\nRUN --mount=source=.,target=/m --mount=source=b,target=/b cat /m/a /b > /out\nFROM scratch\nCOPY --from=p /out /\n",
        &[("a", "a"), ("b", "b")],
    );
    let out = || std::fs::read_to_string(lab.files_of(&nested, &[]).join("out")).unwrap();
    assert_eq!(out(), "ab");
    std::fs::write(nested.join("a"), "A").unwrap();
    assert_eq!(out(), "Ab");
    std::fs::write(nested.join("b"), "B").unwrap();
    assert_eq!(out(), "AB");
    // A layer below the selected path may change without a new run, even if the mount can be written.
    let unrelated = lab.context(
        "FROM busybox AS build\nCOPY unrelated /\nRUN mkdir out && echo foo > out/foo\nFROM busybox AS p\nRUN --mount=from=build,src=out,target=/out,rw touch /out/bar && cat /proc/sys/kernel/random/uuid > /out1\nFROM scratch\nCOPY --from=p /out1 /\n",
        &[("unrelated", "0")],
    );
    let id = || std::fs::read_to_string(lab.files_of(&unrelated, &[]).join("out1")).unwrap();
    let before = id();
    std::fs::write(unrelated.join("unrelated"), "1").unwrap();
    assert_eq!(id(), before);
}

/// CVE class: the source of a cache mount must not lead out of it.
// items: M011 T15
#[test]
fn cache_source_cannot_escape() {
    let lab = Lab::new();
    lab.build("FROM busybox\nRUN --mount=type=cache,target=/c,id=esc ln -s / /c/out\n", &[], &[]).ok();
    let escaping = lab.build(
        "FROM busybox\nRUN --mount=type=cache,target=/m,id=esc,source=out/etc cat /m/hostname /m/shadow\n",
        &[],
        &[],
    );
    assert_ne!(escaping.code, 0, "{escaping:?}");
}

// items: M016
#[test]
fn memory_mounts() {
    let lab = Lab::new();
    let printed = lab.step(
        "--mount=type=tmpfs,target=/t,size=1m",
        "grep ' /t ' /proc/mounts; dd if=/dev/zero of=/t/x bs=1M count=2 2>&1 | grep -c 'No space'",
        &[],
    );
    assert!(printed.contains("tmpfs") && printed.trim_end().ends_with('1'), "{printed}");
}

const SECRET: &str = "a-very-secret-word";

// items: M017 M018
#[test]
fn secrets_reach_their_step_and_nothing_else() {
    let lab = Lab::new();
    std::fs::write(lab.at("s"), SECRET).unwrap();
    let dockerfile = r#"FROM busybox
RUN --mount=type=secret,id=s,uid=1000,mode=0440 stat -c '%u %a' /run/secrets/s > /stat; wc -c < /run/secrets/s > /length; grep ' /run/secrets/s ' /proc/mounts | cut -d' ' -f3 > /fs
RUN --mount=type=secret,id=s,target=/etc/s --mount=type=secret,id=e,env=TOKEN test "$(cat /etc/s)" = "$TOKEN"
RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent
RUN ls /run/secrets /etc/s > /left 2>&1 || true; env > /env
"#;
    let context = path(&lab.context(dockerfile, &[]));
    let mut command = lab.command(crate::lab::binary());
    command.env("FROM_ENV", SECRET).args([
        "build",
        "--progress=plain",
        "-t",
        "app",
        "--secret",
        "id=s,src=s",
        "--secret",
        "id=e,env=FROM_ENV",
        &context,
    ]);
    crate::lab::run(&mut command, b"").ok().says_not(SECRET);
    let shown = lab.say("run --rm --network=none app cat /stat /length /fs /left /env").ok();
    assert!(shown.stdout.starts_with("1000 440\n18\ntmpfs\n"), "{}", shown.stdout);
    shown.says_not(SECRET).says_not("TOKEN");
    lab.say("save app -o app.tar").ok();
    lab.say("history --no-trunc app").ok().says_not(SECRET);
    let secret = SECRET.as_bytes();
    let holds =
        |file: &str| std::fs::read(file).is_ok_and(|bytes| bytes.windows(secret.len()).any(|part| part == secret));
    let holding: Vec<_> = lab.content().into_iter().filter(|file| holds(file)).collect();
    assert!(holding.is_empty(), "{holding:?}");
}

// items: M019 K002
#[test]
fn secret_values_are_no_part_of_the_key() {
    let lab = Lab::new();
    let context =
        path(&lab.context("FROM busybox\nRUN --mount=type=secret,id=s cat /proc/sys/kernel/random/uuid > /id\n", &[]));
    let id = |value: &str| {
        std::fs::write(lab.at("s"), value).unwrap();
        lab.rbuild(["build", "-q", "--secret", "id=s,src=s", &context]).ok().line().to_owned()
    };
    assert_eq!(id("one"), id("two"));
}

// items: M017 M018 R002
#[test]
fn secrets_as_files_and_variables() {
    let lab = Lab::new();
    std::fs::write(lab.at("s"), "pw").unwrap();
    let flags =
        |file: &str| format!("grep ' {file} ' /proc/mounts | cut -d' ' -f4 | tr ',' '\\n' | grep -c noexec; true");
    let noexec = flags("/run/secrets/s");
    let rows = [
        ("id=s", "cat /run/secrets/s; stat -c ' %a %u %g' /run/secrets/s", "pw 400 0 0"),
        ("src=s,target=/x/y", "cat /x/y; ls /run/secrets 2>/dev/null; echo", "pw"),
        ("target=/etc/s", "cat /etc/s; echo", "pw"),
        ("id=s,required=false,mode=741,uid=100,gid=102,target=/m", "stat -c '%u %g %f' /m", "100 102 81e1"),
        ("id=s,env=E", "echo $E; ls /run/secrets 2>/dev/null; true", "pw"),
        ("id=s,env=E,target=/x", "echo $E$(cat /x)", "pwpw"),
        ("id=missing,env=E", "echo ${E-unset}.", "."),
        ("id=missing", "ls /run/secrets/missing 2>/dev/null || echo none", "none"),
        ("id=s", noexec.as_str(), "1"),
        ("id=s,mode=0500", noexec.as_str(), "0"),
    ];
    let steps: String =
        rows.iter().map(|(flags, script, _)| format!("RUN --mount=type=secret,{flags} ({script}) >> /out\n")).collect();
    let dockerfile = format!(
        "FROM busybox AS p\nENV E=plain\n{steps}RUN --mount=type=secret,id=s,env=E [\"awk\", \"BEGIN {{ print ENVIRON[\\\"E\\\"] >> \\\"/out\\\" }}\"]\nRUN ls -d /m /x /etc/s /run/secrets >> /out 2>/dev/null; echo $E >> /out\nFROM scratch\nCOPY --from=p /out /\n"
    );
    let out = lab.files(&dockerfile, &[], &["--secret", "id=s,src=s"]);
    let printed = std::fs::read_to_string(out.join("out")).unwrap();
    let expected: Vec<&str> = rows.iter().map(|(.., expected)| *expected).chain(["pw", "plain"]).collect();
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn missing_secrets_are_said() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox\nRUN --mount=type=secret,id=needed,required cat /run/secrets/needed\n";
    lab.build(dockerfile, &[], &[]).exits(1).says("needed");
    lab.build(dockerfile, &[], &["--secret", "id=needed,src=not-there"]).exits(1).says("not-there");
}

// items: M020
#[test]
fn agents_answer_in_the_step() {
    let lab = Lab::new();
    let socket = lab.at("agent");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0; 5];
            if stream.read_exact(&mut asked).is_ok() {
                // SSH_AGENT_IDENTITIES_ANSWER with no keys.
                stream.write_all(&[0, 0, 0, 5, 12, 0, 0, 0, 0]).unwrap();
            }
        }
    });
    let given = format!("default={}", socket.display());
    let other = format!("other={}", socket.display());
    let dockerfile = "FROM busybox AS p\nRUN --mount=type=ssh,mode=741,uid=100,gid=102 --mount=type=ssh,id=other,target=/o stat -c '%u %g %f' $SSH_AUTH_SOCK /o > /two\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK && printf '\\0\\0\\0\\1\\13' | nc local:$SSH_AUTH_SOCK 0 2>/tmp/e | head -c 9 | od -An -tx1 > /out; stat -c %a $SSH_AUTH_SOCK >> /out\nRUN echo left ${SSH_AUTH_SOCK:-nothing} >> /out; cat /two >> /out; ls -d /o >> /out; true\nFROM scratch\nCOPY --from=p /out /\n";
    let out = lab.files(dockerfile, &[], &["--ssh", &given, "--ssh", &other]);
    let out = std::fs::read_to_string(out.join("out")).unwrap();
    assert!(out.ends_with("100 102 c1e1\n0 0 c180\n"), "{out}");
    assert!(out.contains("600\n") && out.contains("left nothing"), "{out}");
    lab.build("FROM busybox\nRUN --mount=type=ssh,required true\n", &[], &[]).exits(1).says("ssh");
    lab.build("FROM busybox\nRUN --mount=type=ssh test ! -e \"$SSH_AUTH_SOCK\"\n", &[], &[]).ok();
}
