//! RUN and its mounts, as ops.

use rbuild_graph::pb;
use rbuild_lower::{Entitlement, NoCache, Request};

use crate::common::{history, names, request};
use crate::{env, execs, fails, last_exec, ok, shown, with};

fn words(exec: &pb::ExecOp) -> Vec<String> {
    exec.meta.clone().expect("a process").args
}

/// Returns the mounts of the last RUN but the root.
fn mounts(text: &str) -> Vec<pb::Mount> {
    last_exec(text).mounts.into_iter().filter(|mount| mount.dest != "/").collect()
}

fn mount(flags: &str) -> pb::Mount {
    mounts(&format!("FROM alpine AS tools\nFROM alpine\nWORKDIR /w\nRUN --mount={flags} x\n")).pop().expect("a mount")
}

// items: R001 R002
#[test]
fn commands() {
    for (text, expect) in [
        ("FROM alpine\nRUN a  b", &["/bin/sh", "-c", "a  b"][..]),
        ("FROM alpine\nRUN [\"a\", \"b c\"]", &["a", "b c"]),
        ("FROM alpine\nRUN []random", &["/bin/sh", "-c", "[]random"]),
        ("FROM app\nRUN a", &["/bin/ash", "-c", "a"]),
        ("FROM app\nENTRYPOINT [\"never\"]\nRUN [\"a\"]", &["a"]),
        ("FROM alpine\nSHELL [\"bash\", \"-ec\"]\nRUN a", &["bash", "-ec", "a"]),
        ("FROM alpine\nSHELL [\"bash\", \"-ec\"]\nRUN [\"a\"]", &["a"]),
        ("FROM alpine AS s\nSHELL [\"s\"]\nFROM s\nRUN a", &["s", "a"]),
        ("FROM alpine\nSHELL [\"bash\"]\nRUN <<E\na\nE", &["bash", "a\n"]),
        ("FROM alpine\nSHELL [\"bash\"]\nRUN <<E\n#!/x\nE", &["bash", "/dev/pipes/E"]),
    ] {
        assert_eq!(words(&last_exec(text)), expect, "{text}");
    }
    let exec = last_exec("FROM app\nARG B=2\nENV A=1 C=3\nUSER u:g\nWORKDIR d\nRUN x\n");
    let meta = exec.meta.expect("a process");
    assert_eq!(meta.env, ["PATH=/usr/bin", "B=2", "A=1", "C=3"]);
    assert_eq!((meta.user.as_str(), meta.cwd.as_str()), ("u:g", "/srv/app/d"));
    assert!(env(&ok("FROM busybox:1\nRUN x\n"))[0].starts_with("PATH=/usr/local/sbin"));
}

// items: F038 R016
#[test]
fn scripts_are_files() {
    let shown = shown("FROM scratch\nRUN <<go\n#!/x\necho $y\ngo\n");
    assert!(shown.contains("mkfile") && shown.contains("0755"), "{shown}");
    let mount = mounts("FROM scratch\nRUN <<go\n#!/x\ngo\n").pop().expect("a mount");
    assert_eq!((mount.dest.as_str(), mount.readonly, mount.output), ("/dev/pipes/", true, pb::SKIP_OUTPUT));
}

// items: F034 F036
#[test]
fn inline_files() {
    let text = "FROM scratch\nENV V=5\nCOPY <<one <<\"two\" /d/\n\"$V\" '$V' \\$V\none\n\"$V\"\ntwo\nADD --chmod=600 --chown=1:2 <<-three /e\n\t$V\n\tthree\n";
    let shown = shown(text);
    for expect in [
        "mkfile scratch /one 0644",
        "mkfile scratch /two 0644",
        "mkfile scratch /three 0644",
        "\\\"5\\\" '5' $V\\n",
        "\\\"$V\\\"\\n",
        "/one -> scratch /d/",
        "/two -> ",
        "/three -> ",
        "0600 owner=1:2",
    ] {
        assert!(shown.contains(expect), "{expect}: {shown}");
    }
    assert_eq!(history(&ok(text))[1], "COPY <<one <<two /d/ # buildkit");
}

// items: R009 R010
#[test]
fn networks_and_security() {
    let allowed = |network| Request {
        allow: [Entitlement::NetworkHost, Entitlement::SecurityInsecure].into(),
        network,
        ..request()
    };
    for (flag, all, expect) in [
        ("", pb::NetMode::Unset, pb::NetMode::Unset),
        ("--network=default", pb::NetMode::Unset, pb::NetMode::Unset),
        ("--network=none", pb::NetMode::Unset, pb::NetMode::None),
        ("--network=host", pb::NetMode::Unset, pb::NetMode::Host),
        ("", pb::NetMode::None, pb::NetMode::None),
        ("--network=host", pb::NetMode::None, pb::NetMode::Host),
        ("--network=none", pb::NetMode::Host, pb::NetMode::None),
    ] {
        let lowered = with(&format!("FROM alpine\nRUN {flag} x\n"), &allowed(all));
        assert_eq!(execs(&lowered)[0].network(), expect, "{flag} {all:?}");
    }
    for (flag, expect) in [
        ("", pb::SecurityMode::Sandbox),
        ("--security=sandbox", pb::SecurityMode::Sandbox),
        ("--security=insecure", pb::SecurityMode::Insecure),
    ] {
        let lowered = with(&format!("FROM alpine\nRUN {flag} x\n"), &allowed(pb::NetMode::Unset));
        assert_eq!(execs(&lowered)[0].security(), expect, "{flag}");
    }
}

// items: R012
#[test]
fn settings_of_all_steps() {
    let asked = Request {
        add_hosts: vec![("db".to_owned(), rbuild_lower::HostAddress::Ip("10.0.0.1".parse().expect("an address")))],
        shm_size: 7,
        ulimits: vec![pb::Ulimit { name: "nofile".to_owned(), soft: 1, hard: 2 }],
        cgroup_parent: Some("/p".to_owned()),
        resources: Some(pb::LinuxResources { memory: 1, memory_swap: 2, cpu_shares: 3, ..Default::default() }),
        ..request()
    };
    let lowered = with("FROM alpine AS a\nRUN x\nFROM alpine\nCOPY --from=a /a /\nRUN y\n", &asked);
    let steps = execs(&lowered);
    assert_eq!(steps.len(), 2);
    for step in steps {
        let meta = step.meta.expect("a process");
        assert_eq!((meta.extra_hosts[0].host.as_str(), meta.extra_hosts[0].ip.as_str()), ("db", "10.0.0.1"));
        assert_eq!(
            (meta.ulimit[0].name.as_str(), meta.ulimit[0].hard, meta.cgroup_parent.as_str()),
            ("nofile", 2, "/p")
        );
        let shm = step.mounts.iter().find(|mount| mount.dest == "/dev/shm").expect("shared memory");
        assert_eq!(shm.tmpfs_opt.map(|options| options.size), Some(7));
    }
    // Limits of control groups go beside the op, not into it.
    let graph = crate::graph(&lowered);
    let limited = graph.vertices().iter().filter(|vertex| vertex.metadata.linux_resources.is_some()).count();
    assert_eq!(limited, 2);
    let free = with("FROM alpine\nRUN y\n", &Request { resources: None, ..asked.clone() });
    assert_eq!(execs(&free), execs(&with("FROM alpine\nRUN y\n", &asked)));
}

// items: R014 R015
#[test]
fn history_of_steps() {
    let of = |text: &str| history(&ok(text)).pop().expect("a line");
    for (text, expect) in [
        ("FROM alpine\nRUN a  b", "RUN /bin/sh -c a  b # buildkit"),
        ("FROM alpine\nRUN [\"a\", \"b c\"]", "RUN a b c # buildkit"),
        ("FROM alpine\nARG A\nARG B=\nRUN x", "RUN |2 A= B= /bin/sh -c x # buildkit"),
        ("FROM alpine\nARG A=1\nENV A=2\nRUN x", "RUN |1 A=2 /bin/sh -c x # buildkit"),
        ("FROM alpine\nENV A=2\nRUN x", "RUN /bin/sh -c x # buildkit"),
        ("FROM alpine\nRUN --mount=type=tmpfs,target=/t --network=none x", "RUN /bin/sh -c x # buildkit"),
        ("FROM alpine\nRUN <<E\na\nb\nE", "RUN /bin/sh -c a\nb\n # buildkit"),
        ("FROM alpine\nRUN cat <<E\na\nE", "RUN /bin/sh -c cat <<E\na\nE # buildkit"),
    ] {
        assert_eq!(of(text), expect, "{text}");
    }
}

// items: M002
#[test]
fn variables_in_mounts() {
    let cache = |text: &str| {
        let mount = mounts(text).pop().expect("a mount");
        (mount.dest, mount.cache_opt.expect("a cache").id)
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    for (text, expect) in [
        ("FROM alpine\nARG T=/t\nRUN --mount=type=cache,target=$T x", pair("/t", "//t")),
        ("FROM alpine\nENV T=/t TYPE=cache\nRUN --mount=type=$TYPE,target=${T} x", pair("/t", "//t")),
        ("ARG T=/t\nFROM alpine\nARG T\nRUN --mount=type=cache,id=i,target=$T x", pair("/t", "/i")),
        ("FROM alpine AS a\nENV I=i T=cache\nFROM a\nRUN --mount=type=$T,id=$I,target=/t x", pair("/t", "/i")),
    ] {
        assert_eq!(cache(text), expect, "{text}");
    }
    fails("ARG T=/t\nFROM alpine\nRUN --mount=type=cache,target=$T x\n", "invalid mount target \"/\"");
    fails("FROM alpine\nRUN --mount=type=cache,target=${T:?no-target} x\n", "T: no-target");
    fails(
        "FROM alpine\nENV T=tmp\nRUN --mount=type=$T,target=/t x\n",
        "unsupported mount type \"tmp\" (did you mean tmpfs?)",
    );
}

// items: M003 M004 M005 M006
#[test]
fn binds() {
    let place = |flags: &str| {
        let mount = mount(flags);
        (mount.dest, mount.selector, mount.readonly)
    };
    let row = |dest: &str, selector: &str, readonly| (dest.to_owned(), selector.to_owned(), readonly);
    for (flags, expect) in [
        ("target=/t", row("/t", "", true)),
        ("dst=t", row("/w/t", "", true)),
        ("destination=../t", row("/t", "", true)),
        ("target=/t,source=a/../b", row("/t", "/b", true)),
        ("target=/t,src=/b", row("/t", "/b", true)),
        ("target=/t,src=..", row("/t", "", true)),
        ("target=/t,rw", row("/t", "", false)),
        ("target=/t,readwrite=true", row("/t", "", false)),
        ("target=/t,readwrite=false", row("/t", "", true)),
        ("target=/t,readonly=false", row("/t", "", false)),
        ("target=/t,rw,ro", row("/t", "", true)),
        ("type=cache,target=/t", row("/t", "", false)),
        ("type=cache,target=/t,ro", row("/t", "", true)),
        ("type=tmpfs,target=/t", row("/t", "", false)),
        ("from=tools,target=/t,source=bin", row("/t", "/bin", true)),
    ] {
        assert_eq!(place(flags), expect, "{flags}");
        // What is written is lost, whatever the kind.
        assert_eq!(mount(flags).output, pb::SKIP_OUTPUT, "{flags}");
    }
    for target in ["/", ".", "..", "/..", "/."] {
        let error =
            crate::build(&format!("FROM alpine\nRUN --mount=target={target} x\n"), &request()).expect_err(target);
        assert!(error.first().contains("invalid mount target"), "{target}: {error}");
    }
}

// items: M008 M009 M010 M022
#[test]
fn caches() {
    let cache = |flags: &str| {
        let mount = mount(&format!("type=cache,{flags}"));
        let options = mount.cache_opt.expect("a cache");
        (options.id.clone(), options.sharing(), mount.selector)
    };
    let row = |id: &str, sharing, selector: &str| (id.to_owned(), sharing, selector.to_owned());
    use pb::CacheSharing::{Locked, Private, Shared};
    for (flags, expect) in [
        ("target=/c", row("//c", Shared, "")),
        ("target=/c/../d/", row("//d", Shared, "")),
        ("target=c", row("/c", Shared, "")),
        ("target=/c,id=i", row("/i", Shared, "")),
        ("target=/c,id=i,sharing=shared", row("/i", Shared, "")),
        ("target=/c,id=i,sharing=PRIVATE", row("/i", Private, "")),
        ("target=/c,id=i,sharing=locked", row("/i", Locked, "")),
        ("target=/c,source=s", row("//c", Shared, "/s")),
        ("target=/c,uid=1", row("//c", Shared, "/cache")),
        ("target=/c,source=s,uid=1,mode=0700", row("//c", Shared, "/s")),
        ("target=/c,from=tools", row("//c", Shared, "")),
    ] {
        assert_eq!(cache(flags), expect, "{flags}");
    }
    let made = |flags: &str| shown(&format!("FROM alpine\nRUN --mount=type=cache,target=/c,{flags} x\n"));
    assert!(made("uid=1,gid=2,mode=0711").contains("mkdir scratch /cache 0711 owner=1:2"), "{}", made("uid=1"));
    assert!(made("uid=1").contains("mkdir scratch /cache 0755 owner=1:0"));
    assert!(made("mode=700").contains("mkdir scratch /cache 0700 owner=0:0"));
    assert!(!made("source=s,uid=1").contains("mkdir"), "a source is taken as it is");
}

// items: M016 M022
#[test]
fn memory() {
    let size = |flags: &str| mount(&format!("type=tmpfs,{flags}")).tmpfs_opt.expect("memory").size;
    assert_eq!(size("target=/t"), 0);
    assert_eq!(size("target=/t,size=10"), 10);
    assert_eq!(size("target=/t,size=1.5k"), 1536);
    assert_eq!(size("target=/dev/shm,size=128m"), 128 << 20);
    let shm = mount("type=tmpfs,target=/dev/shm");
    assert_eq!((shm.dest.as_str(), shm.input), ("/dev/shm", pb::EMPTY));
}

// items: M017 M018 M021
#[test]
fn secrets() {
    let file = |flags: &str| {
        let mount = mount(&format!("type=secret,{flags}"));
        let options = mount.secret_opt.expect("a secret");
        (options.id, mount.dest, options.mode, options.uid, options.gid, options.optional)
    };
    let row =
        |id: &str, dest: &str, mode, uid, gid, optional| (id.to_owned(), dest.to_owned(), mode, uid, gid, optional);
    for (flags, expect) in [
        ("id=s", row("s", "/run/secrets/s", 0o400, 0, 0, true)),
        ("id=a/b", row("a/b", "/run/secrets/b", 0o400, 0, 0, true)),
        ("src=s", row("s", "/run/secrets/s", 0o400, 0, 0, true)),
        ("target=/etc/pw", row("pw", "/etc/pw", 0o400, 0, 0, true)),
        ("id=s,target=/x,required", row("s", "/x", 0o400, 0, 0, false)),
        ("id=s,required=false,mode=741,uid=100,gid=102", row("s", "/run/secrets/s", 0o741, 100, 102, true)),
        ("id=s,uid=5", row("s", "/run/secrets/s", 0o400, 5, 0, true)),
        ("id=s,env=E,target=/x", row("s", "/x", 0o400, 0, 0, true)),
    ] {
        assert_eq!(file(flags), expect, "{flags}");
    }
    let variable = last_exec("FROM alpine\nRUN --mount=type=secret,id=s,env=E,required x\n");
    assert_eq!((variable.mounts.len(), variable.secretenv.len()), (1, 1));
    assert_eq!((variable.secretenv[0].name.as_str(), variable.secretenv[0].optional), ("E", false));
    // The value is masked where the name of the step would show it; the text of other variables is shown.
    let named = ok("FROM alpine\nENV E=plain F=f\nRUN --mount=type=secret,id=s,env=E echo $E $F\n");
    assert!(names(&named)[1].ends_with("echo **** f"), "{:?}", names(&named));
    fails("FROM alpine\nRUN --mount=type=secret,env=E x\n", "invalid secret mount. one of source, target required");
}

// items: M020
#[test]
fn agents() {
    let agent = |flags: &str| {
        let mount = mount(&format!("type=ssh{flags}"));
        let options = mount.ssh_opt.expect("an agent");
        (options.id, mount.dest, options.mode, options.uid, options.gid, options.optional)
    };
    let row =
        |id: &str, dest: &str, mode, uid, gid, optional| (id.to_owned(), dest.to_owned(), mode, uid, gid, optional);
    for (flags, expect) in [
        ("", row("", "/run/buildkit/ssh_agent.0", 0o600, 0, 0, true)),
        (",id=k", row("k", "/run/buildkit/ssh_agent.0", 0o600, 0, 0, true)),
        (",target=/a,required", row("", "/a", 0o600, 0, 0, false)),
        (",mode=741,uid=100,gid=102", row("", "/run/buildkit/ssh_agent.0", 0o741, 100, 102, true)),
    ] {
        assert_eq!(agent(flags), expect, "{flags}");
    }
    let several = ok("FROM alpine\nRUN --mount=type=ssh,target=/first --mount=type=ssh,id=b x\n");
    assert!(env(&several).contains(&"SSH_AUTH_SOCK=/first".to_owned()), "{:?}", env(&several));
    fails("FROM alpine\nRUN --mount=type=ssh,src=/x y\n", "ssh does not support source");
}

// items: M015
#[test]
fn steps_that_ignore_the_cache() {
    let all = Request { no_cache: NoCache::All, ..request() };
    let lowered = with("FROM alpine\nRUN --mount=type=cache,target=/c,mode=0700 x\nRUN y\n", &all);
    let graph = crate::graph(&lowered);
    let steps = graph.vertices().iter().filter(|vertex| matches!(vertex.kind(), pb::Kind::Exec(_)));
    assert_eq!(steps.map(|vertex| vertex.metadata.ignore_cache).collect::<Vec<_>>(), [true, true]);
}
