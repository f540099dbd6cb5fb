//! Single rules of the language, by inventory id; the easy ones to get wrong first.

#[allow(dead_code, reason = "shared by two tests")]
mod common;

use common::{args, build, graph, history, names, request, show};
use rbuild_graph::pb;
use rbuild_lower::{Entitlement, Lowered, NoCache, Request};

fn ok(text: &str) -> Lowered {
    with(text, &request())
}

fn with(text: &str, request: &Request) -> Lowered {
    build(text, request).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// Expects an error that contains `expect`.
fn fails(text: &str, expect: &str) {
    fails_with(text, &request(), expect);
}

fn fails_with(text: &str, request: &Request, expect: &str) {
    let error = build(text, request).err().unwrap_or_else(|| panic!("{text}: was accepted"));
    assert!(error.first().contains(expect), "{text}\n{error}");
    let shown = error.diagnostics.last().expect("an error");
    assert!(shown.lines.start >= 1 && shown.span.end <= text.len(), "{shown:?}");
}

fn execs(lowered: &Lowered) -> Vec<pb::ExecOp> {
    let exec = |vertex: &std::sync::Arc<rbuild_graph::Vertex>| match vertex.kind() {
        pb::Kind::Exec(exec) => Some(exec.clone()),
        _ => None,
    };
    graph(lowered).vertices().iter().filter_map(exec).collect()
}

fn env(lowered: &Lowered) -> Vec<String> {
    execs(lowered).pop().expect("a RUN").meta.expect("a process").env
}

/// Expects the warnings, joined.
fn warns(text: &str, expect: &str) {
    let lowered = ok(text);
    let warnings: Vec<String> = lowered.warnings.iter().map(|warning| format!("{warning}")).collect();
    assert_eq!(warnings.join("; "), expect, "{text}");
}

// items: A003 T06
#[test]
fn a003_default_is_not_looked_at_if_a_value_is_given() {
    let text = "FROM scratch\nARG X=\"${Y:?missing}\"\nENV Z=$X\n";
    fails(text, "Y: missing");
    let given = Request { build_args: args(&[("X", "1")]), ..request() };
    assert!(with(text, &given).config.config.env.contains(&"Z=1".to_owned()));
    fails("ARG X=\"${Y:?missing}\"\nFROM scratch\n", "Y: missing");
    with("ARG X=\"${Y:?missing}\"\nFROM scratch\n", &given);
}

// items: S013 T07
#[test]
fn s013_variables_are_those_before_the_instruction() {
    let lowered = ok("FROM scratch\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\n");
    assert_eq!(lowered.config.config.env[1..], ["abc=bye", "def=hello", "ghi=bye"]);
}

// items: F046 T08
#[test]
fn i001_entrypoint_clears_a_cmd_of_the_base_only() {
    let cmd = |text: &str| ok(text).config.config.cmd;
    assert_eq!(cmd("FROM app\nENTRYPOINT [\"e\"]\n"), None);
    assert_eq!(cmd("FROM app\nCMD [\"c\"]\nENTRYPOINT [\"e\"]\n"), Some(vec!["c".to_owned()]));
    assert_eq!(cmd("FROM app\nENTRYPOINT [\"e\"]\nCMD [\"c\"]\n"), Some(vec!["c".to_owned()]));
    assert_eq!(cmd("FROM scratch AS a\nCMD [\"c\"]\nFROM a\nENTRYPOINT [\"e\"]\n"), None);
    assert_eq!(cmd("FROM app\nCMD []\n"), None);
    assert_eq!(ok("FROM app\nENTRYPOINT []\n").config.config.entrypoint, None);
}

// items: A010
#[test]
fn a010_proxy_is_in_no_variable_and_no_history() {
    let given = Request { build_args: args(&[("HTTP_PROXY", "http://p"), ("no_proxy", "n")]), ..request() };
    let lowered = with("FROM alpine\nRUN x\n", &given);
    let proxy = execs(&lowered)[0].meta.clone().and_then(|meta| meta.proxy_env).expect("a proxy");
    assert_eq!((proxy.http_proxy.as_str(), proxy.no_proxy.as_str()), ("http://p", "n"));
    assert_eq!(env(&lowered), ["PATH=/bin"]);
    assert_eq!(history(&lowered), ["RUN /bin/sh -c x # buildkit"]);
    let declared = with("FROM alpine\nARG HTTP_PROXY\nRUN x\n", &given);
    assert_eq!(history(&declared)[1], "RUN |1 HTTP_PROXY=http://p /bin/sh -c x # buildkit");
}

// items: G011 T13
#[test]
fn g011_triggers_of_stages_run_in_children_not_in_grandchildren() {
    let text = "FROM scratch AS a\nONBUILD ENV T=1\nFROM a AS b\nENV B=1\nFROM b\nENV C=1\n";
    assert_eq!(history(&ok(text)), ["(ENV T=1)", "(ENV B=1)", "(ENV C=1)"]);
    assert!(ok(text).config.config.on_build.is_empty());
    let image = ok("FROM triggers AS a\nFROM a\n");
    assert_eq!(history(&image).len(), 3, "triggers of an image run once");
    fails(
        "FROM badtrigger\n",
        "reading trigger `ONBUILD FROM x` of the base: FROM isn't allowed as an ONBUILD trigger",
    );
}

// items: T14
#[test]
fn i006_workdir_owner_time_and_layer() {
    let lowered = ok("FROM app\nWORKDIR x\nWORKDIR /\n");
    assert!(show(&Ok(lowered.clone())).contains("mkdir #1 /srv/app/x 0755 parents owner=app@#1:"));
    assert_eq!(history(&lowered), ["WORKDIR /srv/app/x", "(WORKDIR /)"]);
    assert_eq!(lowered.layer_history(), [1]);
    fails("FROM scratch\nUSER app\nWORKDIR /x\n", "invalid user index: -1");
}

// items: T04 C014
#[test]
fn c014_link_with_a_mode_is_not_linked_and_needs_numeric_ids() {
    let merges = |text: &str| show(&Ok(ok(text))).contains("  merge ");
    assert!(merges("FROM alpine\nCOPY --link a /\n"));
    assert!(!merges("FROM alpine\nCOPY --link --chmod=755 a /\n"));
    assert!(!merges("FROM scratch\nCOPY --link a /\n"), "nothing to merge with");
    assert!(merges("FROM alpine\nCOPY --link --chown=1:2 a /\n"));
    fails("FROM alpine\nCOPY --link --chown=app a /\n", "invalid user index: -1");
    let linked = ok("FROM alpine\nCOPY --link a /\nRUN x\n");
    assert_eq!(names(&linked)[2..], ["[2/3] COPY --link a /", "[2/3] LINK COPY --link a /", "[3/3] RUN x"]);
}

// items: T02 C009
#[test]
fn c009_wildcards_may_match_nothing() {
    let shown = show(&Ok(ok("FROM scratch\nCOPY a* /\n")));
    assert!(shown.contains("wildcard empty-wildcard"), "{shown}");
}

// items: M015 O002
#[test]
fn m015_no_cache_marks_the_steps() {
    let text = "FROM alpine AS a\nRUN --mount=type=cache,target=/c,uid=1 x\nCOPY f /\nWORKDIR /w\nFROM alpine\nCOPY --from=a / /\n";
    let ignored = |no_cache| {
        let lowered = with(text, &Request { no_cache, ..request() });
        let graph = graph(&lowered);
        let ignored = graph.vertices().iter().filter(|vertex| vertex.metadata.ignore_cache);
        ignored.map(|vertex| vertex.name.clone()).collect::<Vec<_>>()
    };
    assert!(ignored(NoCache::Off).is_empty());
    assert_eq!(ignored(NoCache::All).len(), 3);
    assert_eq!(ignored(NoCache::Stages(vec!["A".to_owned()])).len(), 2, "O002: whatever the case");
}

// items: R014 R015
#[test]
fn r014_arguments_in_the_history_of_run() {
    let text = "FROM alpine\nARG foo=bar\nARG bar=123\nARG foo=bar2\nRUN ls /etc/\n";
    assert_eq!(history(&ok(text))[3], "RUN |2 foo=bar2 bar=123 /bin/sh -c ls /etc/ # buildkit");
    assert_eq!(history(&ok("FROM alpine\nRUN true\n")), ["RUN /bin/sh -c true # buildkit"], "R015");
}

// items: M017 M018
#[test]
fn m017_m018_secrets() {
    let text = "FROM alpine\nENV TOKEN=plain\nRUN --mount=type=secret,id=tok,env=TOKEN echo $TOKEN\n";
    let lowered = ok(text);
    assert_eq!(names(&lowered)[1], "[stage-0 2/2] RUN --mount=type=secret,id=tok,env=TOKEN echo ****");
    let exec = &execs(&lowered)[0];
    assert_eq!(
        (exec.secretenv[0].name.as_str(), exec.secretenv[0].id.as_str(), exec.secretenv[0].optional),
        ("TOKEN", "tok", true)
    );
    assert_eq!(exec.mounts.len(), 1, "no file is asked for");
    let mount =
        |flags: &str| execs(&ok(&format!("FROM alpine\nRUN --mount=type=secret,{flags} x\n")))[0].mounts[1].clone();
    assert_eq!(mount("id=a/b").dest, "/run/secrets/b");
    let by_target = mount("target=/etc/pw");
    assert_eq!(by_target.secret_opt.map(|opt| (opt.id, opt.mode)), Some(("pw".to_owned(), 0o400)));
}

// items: M005 M008
#[test]
fn m005_m008_mount_targets_and_cache_names() {
    let mounts = |text: &str| execs(&ok(text)).pop().expect("a RUN").mounts;
    let cache = mounts("FROM alpine\nWORKDIR /w\nRUN --mount=type=cache,target=c/../d x\n").pop().expect("a mount");
    assert_eq!((cache.dest.as_str(), cache.cache_opt.expect("cache").id.as_str()), ("/w/d", "/d"));
    let named = Request { build_args: args(&[("BUILDKIT_CACHE_MOUNT_NS", "ns")]), ..request() };
    let lowered = with("FROM alpine\nRUN --mount=type=cache,id=i,target=/c x\n", &named);
    assert_eq!(execs(&lowered)[0].mounts[1].cache_opt.clone().expect("cache").id, "ns/i");
    fails("FROM alpine\nRUN --mount=target=/ x\n", "invalid mount target \"/\"");
    fails("FROM alpine\nRUN --mount=target=. x\n", "invalid mount target \"/\"");
}

/// BuildKit takes what a tmpfs stands upon for used, though nothing of it is shown: the same ops are wanted here.
#[test]
fn tmpfs_mounts_use_all_of_the_context() {
    let paths = |text: &str| {
        let graph = common::graph(&ok(text));
        let local = graph.vertices().iter().find_map(|vertex| match vertex.kind() {
            pb::Kind::Source(source) if source.identifier == "local://context" => Some(source.clone()),
            _ => None,
        });
        local.expect("a context").attrs.get("local.followpaths").cloned()
    };
    assert_eq!(paths("FROM alpine\nCOPY a /\nRUN x\n").as_deref(), Some("[\"a\"]"));
    assert_eq!(paths("FROM alpine\nCOPY a /\nRUN --mount=type=cache,target=/c x\n").as_deref(), Some("[\"a\"]"));
    assert_eq!(paths("FROM alpine\nCOPY a /\nRUN --mount=type=tmpfs,target=/t x\n"), None);
}

/// A vertex that several stages share has the name of the place that a walk from the result meets last.
#[test]
fn shared_steps_are_named_as_buildkit_names_them() {
    let text = "FROM alpine AS build\nRUN x\nFROM alpine AS last\nCOPY --from=build /a /b\n";
    let names = common::names(&ok(text));
    assert!(names[0].starts_with("[build 1/2] FROM docker.io/library/alpine"), "{names:?}");
}

#[test]
fn all_stages_are_one_graph() {
    let text = "FROM alpine AS a\nRUN x\nFROM scratch AS b\nFROM a\nCOPY --from=b /y /z\n";
    let overview = with(text, &Request { all_stages: true, ..request() }).overview.expect("all were read");
    let labels: Vec<_> = overview.stages.iter().map(|stage| stage.label.as_str()).collect();
    assert_eq!(labels, ["a", "b", "stage-2"]);
    let graph = rbuild_graph::Graph::load(&overview.definition).expect("a valid graph");
    let name = |index: usize| Some(&graph.vertex(&overview.stages[index].result?.vertex)?.name);
    assert_eq!(name(0).map(String::as_str), Some("[a 2/2] RUN x"));
    assert_eq!(name(1), None);
    assert!(name(2).is_some_and(|name| name.contains("COPY --from=b")));
    assert_eq!(ok(text).overview, None);
}

// items: M001 M021
#[test]
fn m001_m012_bad_mounts() {
    fails("FROM alpine\nRUN --mount=type=tmp,target=/x y\n", "unsupported mount type \"tmp\" (did you mean tmpfs?)");
    fails(
        "FROM alpine\nRUN --mount=typ=tmpfs,target=/x y\n",
        "unexpected key 'typ' in 'typ=tmpfs' (did you mean type?)",
    );
    fails("FROM alpine\nRUN []\n", "RUN has no command: its list is empty");
    for kind in ["bind", "cache", "tmpfs", "secret,id=a", "ssh"] {
        fails(&format!("FROM alpine\nRUN --mount=type={kind},target=/a/.. y\n"), "invalid mount target \"/");
    }
    fails("FROM alpine\nRUN --mount=target=/x,mode=7 y\n", "mode not allowed for \"bind\" type mounts");
    fails("FROM alpine\nRUN --mount=type=ssh,source=x y\n", "ssh does not support source");
    fails(
        "FROM alpine AS a\nRUN --mount=from=b,target=/m x\nFROM alpine AS b\nFROM a\n",
        "cannot mount from stage \"b\" to \"/m\"",
    );
}

// items: M020
#[test]
fn m020_agents() {
    let lowered = ok("FROM alpine\nRUN --mount=type=ssh --mount=type=ssh,id=other x\n");
    let exec = &execs(&lowered)[0];
    let places: Vec<_> = exec.mounts[1..].iter().map(|mount| mount.dest.as_str()).collect();
    assert_eq!(places, ["/run/buildkit/ssh_agent.0", "/run/buildkit/ssh_agent.1"]);
    assert!(env(&lowered).contains(&"SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0".to_owned()));
    let set = ok("FROM alpine\nENV SSH_AUTH_SOCK=/own\nRUN --mount=type=ssh x\n");
    assert!(env(&set).contains(&"SSH_AUTH_SOCK=/own".to_owned()));
}

// items: R009 R010 O011
#[test]
fn r009_r010_entitlements() {
    fails("FROM alpine\nRUN --network=host x\n", "entitlement network.host is not allowed");
    fails("FROM alpine\nRUN --security=insecure x\n", "entitlement security.insecure is not allowed");
    let host = Request { network: pb::NetMode::Host, ..request() };
    fails_with("FROM alpine\nRUN x\n", &host, "entitlement network.host is not allowed");
    with("FROM alpine\nRUN --network=none x\n", &host);
    let allowed = Request { allow: [Entitlement::NetworkHost].into(), ..host };
    assert_eq!(execs(&with("FROM alpine\nRUN x\n", &allowed))[0].network(), pb::NetMode::Host);
}

// items: G003 G005
#[test]
fn g003_g005_stages_and_images_of_one_name() {
    ok("FROM alpine AS busybox\nFROM missing AS unused\nFROM busybox\n");
    let shown = show(&Ok(ok("FROM alpine AS alpine\nRUN x\nFROM alpine\n")));
    assert!(shown.contains("RUN x"), "a stage goes before an image: {shown}");
    let later = build("FROM x\nFROM scratch AS x\n", &Request { target: Some("x".to_owned()), ..request() });
    assert!(later.is_ok(), "the first stage is not needed");
    fails("FROM x\nFROM scratch AS x\nFROM x AS y\nCOPY --from=0 / /\n", "x: docker.io/library/x:latest: not found");
}

// items: G002 G006 G007
#[test]
fn g006_g007_bad_bases() {
    fails("ARG B\nFROM $B\n", "base name ($B) should not be blank");
    fails(
        "FROM --platform=$TARGETPLATFROM alpine\n",
        "empty platform value from expression $TARGETPLATFROM (did you mean TARGETPLATFORM?)",
    );
    fails("FROM --platform=nowhere alpine\n", "failed to parse platform nowhere");
    fails("FROM alpin\n", "alpin: docker.io/library/alpin:latest: not found (did you mean alpine?)");
    fails("FROM scratch AS build\nFROM Build\n", "failed to parse stage name \"Build\"");
    fails("FROM scratch AS build\nFROM UP/CASE AS unused\nFROM build\n", "failed to parse stage name \"UP/CASE\"");
}

// items: G013 G014
#[test]
fn g013_g014_order_of_stages() {
    let text = "FROM scratch AS a\nCOPY --from=b / /\nFROM scratch AS b\nCOPY --from=a / /\n";
    fails(text, "circular dependency detected on stage: a");
    let error = build(text, &request()).expect_err("a circle");
    assert_eq!(error.diagnostics[0].related.len(), 1);
    fails("FROM scratch AS a\nCOPY --from=a / /\n", "circular dependency detected on stage: a");
    let later = "FROM scratch AS a\nCOPY --from=b / /\nFROM scratch AS b\nFROM a\n";
    fails(later, "cannot copy from stage \"b\", it needs to be defined before current stage \"a\"");
    fails("FROM scratch\nCOPY --from=3 / /\n", "invalid stage index 3");
    fails("FROM scratch\nCOPY --from=-1 / /\n", "invalid stage index -1");
    fails("FROM scratch\nCOPY --from=$x / /\n", "variable expansion is not supported for --from");
}

// items: G015
#[test]
fn g015_targets() {
    let target = |name: &str| Request { target: Some(name.to_owned()), ..request() };
    let text = "FROM scratch AS build\nENV A=1\nFROM scratch\n";
    assert_eq!(history(&with(text, &target("BUILD"))), ["(ENV A=1)"]);
    fails_with(text, &target("bulid"), "target stage \"bulid\" could not be found (did you mean build?)");
    fails_with(text, &target("0"), "target stage \"0\" could not be found");
}

// items: G009 H006
#[test]
fn g009_platform_of_the_image() {
    let arm = Request { build_platform: rbuild_oci::Platform::new("linux", "amd64", None), ..request() };
    let lowered = with("FROM onlyarm\nRUN x\n", &arm);
    assert_eq!(lowered.platform.architecture, "arm64", "H006: without a wish the configuration is the image's");
    let asked = Request { platform: Some(rbuild_oci::Platform::new("linux", "amd64", None)), ..request() };
    let lowered = with("FROM onlyarm\n", &asked);
    assert_eq!(lowered.config.architecture, "amd64");
    assert!(lowered.warnings[0].message.contains("was pulled with platform \"linux/arm64\", expected \"linux/amd64\""));
}

// items: A002 A004 A005 A007 A014 A016 A017
#[test]
fn a001_a009_scopes() {
    let env_of =
        |text: &str, given: &[(&str, &str)]| env(&with(text, &Request { build_args: args(given), ..request() }));
    assert_eq!(env_of("ARG G=1\nFROM alpine\nRUN x\n", &[]), ["PATH=/bin"], "A002");
    assert_eq!(env_of("ARG G=1\nFROM alpine\nARG G\nRUN x\n", &[]), ["PATH=/bin", "G=1"]);
    assert_eq!(env_of("FROM alpine AS a\nARG X=1\nFROM a\nRUN x\n", &[]), ["X=1", "PATH=/bin"], "A007");
    assert_eq!(env_of("FROM alpine\nARG A\nARG B=\nRUN x\n", &[]), ["PATH=/bin", "B="], "A004");
    assert_eq!(
        env_of("FROM alpine\nARG TARGETSTAGE BUILDARCH\nRUN x\n", &[("BUILDARCH", "own")]),
        ["PATH=/bin", "TARGETSTAGE=default", "BUILDARCH=own"],
        "A008"
    );
    assert_eq!(env_of("FROM alpine\nRUN x\n", &[("UNUSED", "1")]), ["PATH=/bin"], "A017");
    let lowered = ok("FROM alpine\nENV K=env\nARG K=arg\nRUN x\nENV M=50%sbar\n");
    assert_eq!(
        (env(&lowered), lowered.config.config.env),
        (vec!["PATH=/bin".into(), "K=arg".into()], vec!["PATH=/bin".into(), "K=env".into(), "M=50%sbar".into()]),
        "A005, A014"
    );
    assert_eq!(ok("FROM busybox:1\n").config.config.env.len(), 1, "A016");
}

// items: I004 I007 I008
#[test]
fn i_metadata_errors() {
    fails("FROM scratch\nENV E=\nVOLUME $E\n", "VOLUME specified can not be an empty string");
    fails("FROM scratch\nSTOPSIGNAL SIGNOPE\n", "invalid signal: SIGNOPE");
    fails("FROM scratch\nEXPOSE 70000\n", "invalid containerPort: 70000");
    fails("FROM scratch\nEXPOSE 80/http\n", "invalid proto: http");
    fails("FROM scratch\nUSER ${\n", "syntax error");
}

// items: C013 C024 D005 D008
#[test]
fn c013_c024_copy_errors() {
    fails(
        "FROM scratch\nCOPY --chmod=64a x /\n",
        "invalid chmod parameter: '64a'. it should be octal string and between 0 and 07777",
    );
    fails("FROM scratch\nCOPY https://example.com/x /\n", "source can't be a URL for COPY");
    fails("FROM scratch\nCOPY git@github.com:a/b.git /\n", "source can't be a git ref for COPY");
    fails("FROM scratch\nADD --checksum=sha256:00 x /\n", "checksum requires HTTP(S) or Git sources");
    fails("FROM scratch\nADD --checksum=md5:00 https://example.com/x /\n", "unsupported digest algorithm: md5");
    fails("FROM scratch\nADD --checksum=00 https://example.com/x /\n", "invalid checksum digest format");
    fails(
        "FROM scratch\nADD --checksum=sha256:00 https://example.com/x https://example.com/y /\n",
        "checksum can't be specified for multiple sources",
    );
    fails("FROM scratch\nADD https://example.com/x.git?what=1 /\n", "unexpected query \"what\"");
    fails(
        "FROM scratch\nADD --keep-git-dir=false https://example.com/x.git?keep-git-dir=true /\n",
        "inconsistent keep-git-dir configuration",
    );
}

// items: O010
#[test]
fn o010_epochs() {
    let at = |epoch: &str| Request { build_args: args(&[("SOURCE_DATE_EPOCH", epoch)]), ..request() };
    assert_eq!(
        with("FROM scratch\nENV A=1\n", &at("0")).config.history[0].created.as_deref(),
        Some("1970-01-01T00:00:00Z")
    );
    assert_eq!(with("ARG SOURCE_DATE_EPOCH=5\nFROM scratch\n", &at("")).epoch, None, "an empty value resets");
    assert_eq!(with("FROM scratch\n", &at("context")).epoch, None, "a directory has no time");
    fails_with("FROM scratch\n", &at("x"), "invalid SOURCE_DATE_EPOCH: x");
    fails_with("FROM alpine AS s\n", &at("s"), "SOURCE_DATE_EPOCH stage must use FROM scratch");
    fails_with("FROM scratch AS s\nRUN x\n", &at("s"), "unsupported RUN instruction");
    fails_with("FROM scratch AS s\nADD f /\n", &at("s"), "must be a single HTTP(S) or Git ADD");
    let named = Request { contexts: args(&[("src", "https://example.com/src.tar")]), ..at("src") };
    assert_eq!(with("FROM scratch\n", &named).epoch, Some(1000));
}

// items: F028 S011 L003
#[test]
fn lints_that_need_scopes() {
    warns("FROM scratch\nENV A=$B\n", "UndefinedVar: Usage of undefined variable '$B' (line 2)");
    warns("ARG B\nFROM scratch\nARG B\nENV A=$B\n", "");
    warns(
        "FROM --platform=$TARGETPLATFORM alpine\n",
        "RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior (line 1)",
    );
    warns(
        "FROM --platform=linux/amd64 alpine\n",
        "FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\" (line 1)",
    );
    warns("FROM app\nCMD x\n", "");
    warns(
        "FROM scratch\nCMD x\n",
        "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 2)",
    );
    let check = Request { build_args: args(&[("BUILDKIT_DOCKERFILE_CHECK", "error=true")]), ..request() };
    fails_with("FROM scratch\nENV A=$B\n", &check, "lint violation found for rules: UndefinedVar");
    let unused = "FROM missing AS unused\nENV A=$B\nFROM scratch\n";
    warns(unused, "");
}

// items: O005
#[test]
fn outline_tells_what_is_asked_for() {
    let text = "ARG A=1\nARG B=$A\nFROM scratch AS x\nARG B\n# C the third\nARG C=3\nRUN --mount=type=secret,id=s,required true\nRUN --mount=type=ssh true\n";
    let outline = ok(text).outline;
    let args: Vec<_> =
        outline.args.iter().map(|arg| (arg.name.as_str(), arg.value.as_str(), arg.description.as_deref())).collect();
    assert_eq!(args, [("A", "1", None), ("B", "1", None), ("C", "3", Some("the third"))]);
    assert_eq!((outline.secrets[0].name.as_str(), outline.secrets[0].required), ("s", true));
    assert_eq!((outline.ssh[0].name.as_str(), outline.ssh[0].required), ("default", false));
}

#[test]
fn hostile_sizes_are_refused_in_bounded_memory() {
    let mut chain = String::from("FROM scratch AS s0\n");
    (0..2_000).for_each(|line| chain.push_str(&format!("LABEL l{line}=x\n")));
    (1..1_000).for_each(|stage| chain.push_str(&format!("FROM s{} AS s{stage}\n", stage - 1)));
    fails(&chain, "the Dockerfile becomes larger than the limit of");
    let ports = format!("FROM scratch\n{}", "EXPOSE 0-65535 0-65535 0-65535 0-65535\n".repeat(20));
    fails(&ports, "the Dockerfile becomes larger than the limit of");
    // X42: looking variables up takes time for each of them.
    let variables: String = (0..10_001).map(|number| format!(" v{number}=x \\\n")).collect();
    fails(&format!("FROM scratch\nENV {variables} z=x\n"), "the stage has more than the limit of 10000 variables");
    let mut deep = String::from("FROM scratch AS s0\nCOPY a /\n");
    (1..5_000).for_each(|stage| deep.push_str(&format!("FROM scratch AS s{stage}\nCOPY --from=s{} / /\n", stage - 1)));
    assert_eq!(graph(&ok(&deep)).vertices().len(), 5_001, "a long chain of stages needs no stack");
}

#[test]
fn same_input_same_bytes_and_sendable() {
    fn sendable<T: Send>(value: T) -> T {
        value
    }
    let text = "FROM alpine\nARG A=1\nCOPY . /\nRUN --mount=type=cache,target=/c x\n";
    assert_eq!(ok(text).definition.encode(), ok(text).definition.encode());
    let dockerfile = common::read(text);
    let (request, host) = (request(), common::host());
    drop(sendable(rbuild_lower::lower(&dockerfile, text, &request, &host)));
}
