//! `rbuild run`: exit codes, environment, users, mounts, privileges.

use crate::lab::{Lab, is_root, path, root_or_skip};

#[test]
fn exit_codes_are_dockers() {
    let lab = Lab::new();
    for (line, code) in [
        ("run --rm --network=none busybox true", 0),
        ("run --rm --network=none busybox false", 1),
        ("run --rm --network=none busybox not-a-command", 127),
        ("run --rm --network=none busybox /etc/passwd", 126),
        ("run --rm --network=none busybox /bin", 126),
        ("run --rm --network=none --pull=never not-an-image true", 125),
        ("run --rm --network=none -u nobody-here busybox true", 125),
        ("run --rm --network=none --cap-add=NONSENSE busybox true", 125),
    ] {
        let outcome = lab.say(line);
        assert_eq!(outcome.code, code, "{outcome:?}");
    }
    lab.sh("--network=none", "exit 42").exits(42);
    lab.sh("--network=none", "kill -TERM $$; sleep 1").exits(143);
    lab.sh("--network=none", "kill -9 $$").exits(137);
}

#[test]
fn streams_are_kept_apart() {
    let lab = Lab::new();
    let outcome = lab.sh("--network=none", "echo out; echo err >&2").ok();
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n", "err\n"));
    let piped = lab.rbuild_with_input(["run", "--rm", "-i", "--network=none", "busybox", "cat"], b"through\n").ok();
    assert_eq!(piped.stdout, "through\n");
    let closed = lab.rbuild_with_input(["run", "--rm", "--network=none", "busybox", "cat"], b"not through\n").ok();
    assert_eq!(closed.stdout, "");
}

#[test]
fn large_output_is_whole() {
    let lab = Lab::new();
    let outcome = lab.sh("--network=none", "seq 1 200000").ok();
    assert_eq!(outcome.stdout.lines().count(), 200_000);
}

#[test]
fn image_says_what_runs_and_flags_say_otherwise() {
    let lab = Lab::new();
    lab.build(
        "FROM busybox\nENV a=1\nWORKDIR /w\nUSER app\nENTRYPOINT [\"echo\", \"entry\"]\nCMD [\"cmd\"]\n",
        &[],
        &["-t", "app"],
    )
    .ok();
    for (words, printed) in [
        (&["app"][..], "entry cmd"),
        (&["app", "other"], "entry other"),
        (&["--entrypoint", "pwd", "app"], "/w"),
        (&["--entrypoint", "id", "app", "-u"], "1000"),
        (&["--entrypoint", "sh", "app", "-c", "echo $a $HOME"], "1 /home/app"),
        (&["--entrypoint", "", "app", "echo", "cleared"], "cleared"),
        (&["-w", "/new/dir", "--entrypoint", "pwd", "app"], "/new/dir"),
        (&["-u", "0", "--entrypoint", "id", "app", "-u"], "0"),
        (&["-u", "7:8", "--entrypoint", "sh", "app", "-c", "id -u; id -g"], "7\n8"),
        (&["-e", "a=2", "-e", "b=3", "--entrypoint", "sh", "app", "-c", "echo $a$b"], "23"),
    ] {
        lab.rbuild(["run", "--rm", "--network=none"].iter().chain(words)).ok().prints(printed);
    }
}

#[test]
fn environment_files_and_inherited_variables() {
    let lab = Lab::new();
    std::fs::write(lab.at("vars"), "# a comment\none=1\ntwo=2 2\n\ninherited\n").unwrap();
    let mut command = lab.command(crate::lab::binary());
    command.env("inherited", "yes").env("secret", "no").args([
        "run",
        "--rm",
        "--network=none",
        "--env-file",
        "vars",
        "-e",
        "one=3",
        "busybox",
        "env",
    ]);
    let printed = crate::lab::run(&mut command, b"").ok().stdout;
    let mut names: Vec<_> =
        printed.lines().filter(|line| !line.starts_with("SHLVL") && !line.starts_with("PWD")).collect();
    names.sort_unstable();
    assert!(names.contains(&"one=3") && names.contains(&"two=2 2") && names.contains(&"inherited=yes"), "{printed}");
    assert!(!printed.contains("secret") && !printed.contains("RBUILD_ROOT"), "{printed}");
}

#[test]
fn volumes_are_the_hosts() {
    let lab = Lab::new();
    std::fs::create_dir(lab.at("v")).unwrap();
    std::fs::write(lab.at("v/f"), "from the host\n").unwrap();
    let dir = path(&lab.at("v"));
    lab.sh(&format!("--network=none -v {dir}:/v"), "cat /v/f; echo back > /v/g").ok().prints("from the host");
    assert_eq!(std::fs::read_to_string(lab.at("v/g")).unwrap(), "back\n");
    lab.sh(&format!("--network=none -v {dir}:/v:ro"), "echo x > /v/g 2>/dev/null || echo read-only")
        .ok()
        .prints("read-only");
    lab.sh(&format!("--network=none --mount type=bind,src={dir}/f,dst=/deep/file,readonly"), "cat /deep/file")
        .ok()
        .prints("from the host");
    lab.sh(&format!("--network=none --mount type=bind,src={dir}/absent,dst=/x"), "true").exits(125).says("absent");
    lab.sh(&format!("--network=none -v {dir}/made:/x"), "touch /x/y").ok();
    assert!(lab.at("v/made/y").exists());
}

#[test]
fn memory_and_read_only_roots() {
    let lab = Lab::new();
    lab.sh("--network=none --tmpfs /t:size=1m,mode=700", "stat -c %a /t; df -k /t | awk 'END {print $2}'")
        .ok()
        .prints("700\n1024");
    lab.sh("--network=none --read-only --tmpfs /t", "touch /x 2>/dev/null || echo no; touch /t/x && echo yes")
        .ok()
        .prints("no\nyes");
    lab.sh("--network=none --mount type=tmpfs,dst=/m,tmpfs-size=2m", "df -k /m | awk 'END {print $2}'")
        .ok()
        .prints("2048");
}

#[test]
fn containers_do_not_change_their_image() {
    let lab = Lab::new();
    lab.sh("--network=none", "echo x > /new; rm /bin/vi").ok();
    lab.sh("--network=none", "ls /new /bin/vi 2>/dev/null").exits(1).prints("/bin/vi");
    let layers = || lab.content().iter().filter(|file| file.contains("/layers/")).count();
    let before = layers();
    lab.sh("--network=none", "dd if=/dev/zero of=/big bs=1M count=5 2>/dev/null").ok();
    assert_eq!(layers(), before, "the container's layer is gone with it");
}

#[test]
fn capabilities_and_options() {
    let lab = Lab::new();
    let caps = "sed -n 's/^CapEff:[[:space:]]*//p; s/^NoNewPrivs:[[:space:]]*/n/p; s/^Seccomp:[[:space:]]*/s/p' /proc/self/status | tr '\\n' ' '";
    for (flags, expected) in [
        ("--cap-drop=ALL", "0000000000000000 n0 s2"),
        ("--cap-drop=ALL --cap-add=CHOWN", "0000000000000001 n0 s2"),
        ("--cap-drop=ALL --cap-add=cap_net_admin", "0000000000001000 n0 s2"),
        ("--cap-drop=ALL --security-opt no-new-privileges", "0000000000000000 n1 s2"),
        ("--cap-drop=ALL --security-opt seccomp=unconfined", "0000000000000000 n0 s0"),
    ] {
        let outcome = lab.sh(&format!("--network=none {flags}"), caps).ok();
        assert_eq!(outcome.line().trim(), expected, "{flags}");
    }
    let default = lab.sh("--network=none", caps).ok();
    assert!(["00000000a80425fb n0 s2", "00000000800405fb n0 s2"].contains(&default.line().trim()), "{default:?}");
}

#[test]
fn root_containers_have_a_network() {
    if root_or_skip() {
        Lab::new().sh("", "ip -4 route | grep -c default").ok().prints("1");
    }
}

#[test]
fn signals_are_handed_on() {
    use rustix::process::Signal;
    let lab = Lab::new();
    for (signal, name, code) in
        [(Signal::TERM, "TERM", 3), (Signal::INT, "INT", 4), (Signal::HUP, "HUP", 5), (Signal::USR1, "USR1", 6)]
    {
        let script = format!("trap 'echo got-{name}; exit {code}' {name}; echo ready; while :; do sleep 0.05; done");
        let mut running = lab.start(["run", "--rm", "--network=none", "busybox", "sh", "-c", &script]);
        running.wait_for("ready");
        running.signal(signal);
        running.end().exits(code).says(&format!("got-{name}"));
    }
}

#[test]
fn ids_and_prefixes_name_an_image() {
    let lab = Lab::new();
    let id = lab.inspect("busybox")["Id"].as_str().unwrap().to_owned();
    for name in [id.as_str(), &id[7..], &id[7..19], "busybox", "busybox:latest", "docker.io/library/busybox"] {
        lab.rbuild(["run", "--rm", "--network=none", name, "echo", "ok"]).ok().prints("ok");
    }
    if is_root() {
        lab.say("run --rm --network=none --pull=never other true").exits(125).says("other");
    }
}
