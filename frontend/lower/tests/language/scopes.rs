//! Variables: which words are expanded, and where arguments come from.

use rbuild_lower::Request;
use rbuild_oci::Platform;

use crate::common::{args, history, names, request};
use crate::{env, execs, fails, fails_with, ok, shown, with};

// items: S015
#[test]
fn words_that_are_expanded() {
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let config = |line: &str| {
        let text = format!("FROM scratch\nENV V=5 SIGNAL=KILL\n{line}\n");
        serde_json::to_string(&ok(&text).config).expect("JSON")
    };
    for (line, expect) in [
        ("ENV x$V=a$V", "\"x5=a5\""),
        ("ENV legacy a$V", "\"legacy=a5\""),
        ("LABEL l$V=a$V", "\"l5\":\"a5\""),
        ("EXPOSE $V/udp", "\"5/udp\""),
        ("USER u$V", "\"User\":\"u5\""),
        ("VOLUME /v$V", "\"/v5\""),
        ("VOLUME [\"/v$V\"]", "\"/v5\""),
        ("STOPSIGNAL $SIGNAL", "\"StopSignal\":\"KILL\""),
        ("WORKDIR /w$V", "\"WorkingDir\":\"/w5\""),
    ] {
        assert!(config(line).contains(expect), "{line}: {}", config(line));
    }
    for (line, expect) in [
        ("COPY a$V /b$V", "/a5 -> scratch /b5"),
        ("COPY [\"a$V\", \"/b$V\"]", "/a5 -> scratch /b5"),
        ("COPY --chown=$V:$V --chmod=70$V a /", "0705 owner=5:5"),
        ("ADD --chown=$V:$V --chmod=70$V a$V /b$V", "/a5 -> scratch /b5"),
        ("ADD --checksum=$SUM https://example.com/x$V /", digest),
        ("ARG W=x$V\nRUN y", "env W=x5"),
        ("RUN --mount=type=$TYPE,target=/t$V,size=${V}m x", "mount /t5 tmpfs scratch size=5242880"),
        ("RUN --mount=source=s$V,target=/t x", "/s5 ro"),
        ("RUN --mount=type=cache,id=i$V,target=/t,sharing=$LOCKED x", "id=/i5 Locked"),
        ("RUN --mount=type=secret,id=i$V,env=E$V,required=$YES,uid=$V,mode=070$V,target=/t x", "id=i5 5:0 0705"),
    ] {
        let text = format!("FROM scratch\nENV V=5 TYPE=tmpfs LOCKED=locked YES=true SUM={digest}\n{line}\n");
        assert!(shown(&text).contains(expect), "{line}: {}", shown(&text));
    }
}

// items: S015 M012
#[test]
fn words_that_are_not_expanded() {
    let with_v = |line: &str| format!("FROM scratch\nENV V=5\n{line}\n");
    let config = |line: &str| serde_json::to_string(&ok(&with_v(line)).config).expect("JSON");
    for (line, expect) in [
        ("CMD a $V", "\"a $V\""),
        ("CMD [\"$V\"]", "[\"$V\"]"),
        ("ENTRYPOINT a $V", "\"a $V\""),
        ("HEALTHCHECK CMD a $V", "[\"CMD-SHELL\",\"a $V\"]"),
        ("SHELL [\"$V\"]", "[\"$V\"]"),
        ("ONBUILD RUN a $V", "[\"RUN a $V\"]"),
        ("MAINTAINER a $V", "\"author\":\"a $V\""),
    ] {
        assert!(config(line).contains(expect), "{line}: {}", config(line));
    }
    for (line, expect) in [
        ("RUN a $V", "\"a $V\"]"),
        ("RUN [\"a\", \"$V\"]", "[\"a\", \"$V\"]"),
        ("RUN <<E\n$V\nE", "\"$V\\n\"]"),
        ("COPY --exclude=$V . /", "$V"),
        ("COPY <<'E' /x\n$V\nE", "$V"),
    ] {
        assert!(shown(&with_v(line)).contains(expect), "{line}: {}", shown(&with_v(line)));
    }
    fails(&with_v("COPY --from=$V a /"), "variable expansion is not supported for --from");
    // What is refused as the file is read.
    for (line, expect) in [
        ("RUN --mount=from=$V,target=/x y", "'from' doesn't support variable expansion"),
        ("RUN --network=$V x", "invalid network mode \"$V\""),
        ("RUN --security=$V x", "security \"$V\" is not valid"),
        ("COPY --link=$V a /", "expecting boolean value for flag --link, not: $V"),
        ("COPY --parents=$V a /", "expecting boolean value for flag --parents, not: $V"),
        ("ADD --keep-git-dir=$V a /", "expecting boolean value for flag --keep-git-dir, not: $V"),
        ("ADD --unpack=$V a /", "expecting boolean value for flag --unpack, not: $V"),
    ] {
        let text = with_v(line);
        let (ast, _) = rbuild_dockerfile::parse(&text);
        let (_, diagnostics) = rbuild_dockerfile::interpret(&ast);
        assert!(diagnostics.iter().any(|found| found.to_string().contains(expect)), "{line}: {diagnostics:?}");
    }
}

// items: G006 G007
#[test]
fn near_words() {
    for (text, expect) in [
        ("FROM --platform=lunix alpine\n", "did you mean linux?"),
        ("FROM --platform=linux/amd46 missing\n", "did you mean linux/amd64?"),
        ("FROM --platform=lunix/arm65 missing\n", "did you mean linux/arm64?"),
        ("FROM scratch\nSTOPSIGNAL SIGTREM\n", "invalid signal: SIGTREM (did you mean SIGTERM?)"),
        ("FROM scratch\nSTOPSIGNAL kil\n", "invalid signal: kil (did you mean KILL?)"),
        ("FROM scratch\nEXPOSE 80/tpc\n", "invalid proto: tpc (did you mean tcp?)"),
        ("FROM scratch AS build\nFROM scratch\nCOPY --from=biuld /a /\n", "did you mean build?"),
        ("FROM scratch AS build\nFROM alpine\nRUN --mount=from=biuld,target=/m x\n", "did you mean build?"),
        ("FROM scratch AS build\nFROM biuld\n", "did you mean build?"),
    ] {
        fails(text, expect);
    }
    let check = Request { build_args: args(&[("BUILDKIT_DOCKERFILE_CHECK", "skp=all")]), ..request() };
    fails_with("FROM scratch\n", &check, "(did you mean skip?)");
}

// items: A008
#[test]
fn arguments_of_platforms() {
    let names = "TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT TARGETOSVERSION BUILDPLATFORM BUILDOS BUILDARCH \
                 BUILDVARIANT BUILDOSVERSION TARGETSTAGE";
    let arm = Request { platform: Some(Platform::new("linux", "arm", Some("v6"))), ..request() };
    let values = |target: Option<&str>, given: &[(&str, &str)], rest: &str| {
        let text = format!("FROM scratch AS First\nARG {names}\nRUN x\nFROM scratch{rest}\nARG {names}\nRUN x\n");
        let build_args = args(given);
        env(&with(&text, &Request { target: target.map(str::to_owned), build_args, ..arm.clone() }))[1..].join(" ")
    };
    let all = "TARGETPLATFORM=linux/arm/v6 TARGETOS=linux TARGETARCH=arm TARGETVARIANT=v6 TARGETOSVERSION= \
               BUILDPLATFORM=linux/amd64 BUILDOS=linux BUILDARCH=amd64 BUILDVARIANT= BUILDOSVERSION=";
    assert_eq!(values(None, &[], ""), format!("{all} TARGETSTAGE=default"));
    assert_eq!(values(None, &[], " AS last"), format!("{all} TARGETSTAGE=last"));
    assert_eq!(values(Some("First"), &[], ""), format!("{all} TARGETSTAGE=First"));
    let own = values(None, &[("TARGETARCH", "own"), ("TARGETSTAGE", "mine")], "");
    assert!(own.contains("TARGETARCH=own") && own.ends_with("TARGETSTAGE=mine"), "{own}");
    // They are seen by FROM without being declared, by a stage only if declared.
    assert!(shown("FROM --platform=$BUILDPLATFORM alpine\n").contains("platform linux/amd64"));
    assert_eq!(env(&ok("FROM scratch\nRUN x\n")).len(), 1);
}

// items: A009
#[test]
fn versions_of_systems_in_platforms() {
    let windows =
        |version: &str| Platform { os_version: Some(version.to_owned()), ..Platform::new("windows", "amd64", None) };
    let request = Request { platform: Some(windows("10.0.1")), build_platform: windows("10.0.2"), ..request() };
    let text = "FROM scratch\nARG TARGETPLATFORM TARGETOSVERSION BUILDPLATFORM BUILDOSVERSION\nLABEL l=\"$TARGETPLATFORM $TARGETOSVERSION $BUILDPLATFORM $BUILDOSVERSION\"\n";
    let labels = with(text, &request).config.config.labels;
    assert_eq!(labels["l"], "windows(10.0.1)/amd64 10.0.1 windows/amd64 10.0.2");
}

// items: A010
#[test]
fn proxies_in_any_case_and_declared() {
    let given = |pairs: &[(&str, &str)]| Request { build_args: args(pairs), ..request() };
    for name in ["http_proxy", "HTTP_PROXY", "Http_Proxy"] {
        let lowered = with("FROM alpine\nRUN x\n", &given(&[(name, "p")]));
        let meta = execs(&lowered)[0].meta.clone().expect("a process");
        assert_eq!(meta.proxy_env.expect("a proxy").http_proxy, "p", "{name}");
        assert_eq!(meta.env, ["PATH=/bin"], "{name}");
        assert_eq!(lowered.config.config.env, ["PATH=/bin"], "{name}");
    }
    let declared = with("FROM alpine\nARG http_proxy\nRUN x\n", &given(&[("http_proxy", "p")]));
    assert_eq!(env(&declared), ["PATH=/bin", "http_proxy=p"]);
}

// items: A011
#[test]
fn arguments_of_scans_are_no_variables() {
    let text = |value: &str| {
        format!(
            "FROM alpine AS a\nARG BUILDKIT_SBOM_SCAN_STAGE={value}\nRUN x\nFROM alpine AS b\nARG BUILDKIT_SBOM_SCAN_STAGE BUILDKIT_SBOM_SCAN_CONTEXT=true\nCOPY --from=a /a /\nRUN x\n"
        )
    };
    for (value, stages) in [("true", &["a"][..]), ("a", &["a"]), ("x,a", &["a"]), ("b", &[]), ("false", &[])] {
        let lowered = ok(&text(value));
        assert_eq!(env(&lowered), ["PATH=/bin"], "{value}");
        let found: Vec<_> = lowered.scan.as_ref().unwrap().extras.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(found, [stages, &["context"]].concat(), "{value}");
    }
}

// items: A012 R004
#[test]
fn arguments_that_steer_the_build() {
    let given = |name: &str, value: &str| Request { build_args: args(&[(name, value)]), ..request() };
    let run = "FROM alpine\nRUN --mount=type=cache,target=/c x\n";
    let lowered = with(run, &given("BUILDKIT_SANDBOX_HOSTNAME", "box"));
    assert_eq!(execs(&lowered)[0].meta.clone().expect("a process").hostname, "box");
    let both = Request { hostname: Some("less".to_owned()), ..given("BUILDKIT_SANDBOX_HOSTNAME", "box") };
    assert_eq!(execs(&with(run, &both))[0].meta.clone().expect("a process").hostname, "box");
    let lowered = with(run, &given("BUILDKIT_CACHE_MOUNT_NS", "ns"));
    assert_eq!(execs(&lowered)[0].mounts[1].cache_opt.clone().expect("a cache").id, "ns//c");
    let lowered = with(run, &given("BUILDKIT_MULTI_PLATFORM", "1"));
    assert!(names(&lowered)[0].starts_with("[linux/amd64 stage-0 1/2] FROM"), "{:?}", names(&lowered));
    fails_with(
        run,
        &given("BUILDKIT_DISABLE_FILEOP", "1"),
        "support for \"BUILDKIT_DISABLE_FILEOP\" build-arg was removed",
    );
    with(run, &given("BUILDKIT_DISABLE_FILEOP", "0"));
    // None of them is a variable of a step unless declared.
    assert_eq!(env(&with(run, &given("BUILDKIT_SANDBOX_HOSTNAME", "box"))), ["PATH=/bin"]);
}

// items: A001 A003 A007
#[test]
fn arguments_of_one_line_and_of_bases() {
    assert_eq!(env(&ok("FROM alpine\nARG A=1 B=${A}2 C='$A'\nRUN x\n"))[1..], ["A=1", "B=12", "C=$A"]);
    // The stage's default goes before a global value; the global value before nothing.
    let text = "ARG A=global B=global\nFROM alpine\nARG A=own B\nRUN x\n";
    assert_eq!(env(&ok(text))[1..], ["A=own", "B=global"]);
    let inherited = ok("FROM alpine AS a\nARG A=1\nFROM a\nARG B=2\nRUN x\n");
    assert_eq!(history(&inherited).last().expect("a RUN"), "RUN |2 A=1 B=2 /bin/sh -c x # buildkit");
    // A stage that only copies from another has none of its arguments.
    assert_eq!(env(&ok("FROM alpine AS a\nARG A=1\nFROM alpine\nCOPY --from=a /x /\nRUN x\n")), ["PATH=/bin"]);
}
