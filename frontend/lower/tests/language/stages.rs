//! FROM, stages, triggers.

use rbuild_lower::{Request, ResolveMode};
use rbuild_oci::Platform;

use crate::common::{args, history, names, request};
use crate::{env, execs, fails, fails_with, ok, shown, with};

fn target(name: &str) -> Request {
    Request { target: Some(name.to_owned()), ..request() }
}

fn contexts(pairs: &[(&str, &str)]) -> Request {
    Request { contexts: args(pairs), ..request() }
}

// items: G001 G002 G003
#[test]
fn names_of_stages() {
    assert_eq!(history(&with("FROM scratch aS One\nENV A=1\nFROM scratch\n", &target("oNE"))), ["(ENV A=1)"]);
    assert_eq!(history(&ok("FROM scratch AS One\nENV A=1\nFROM one\nENV B=1\n")), ["(ENV A=1)", "(ENV B=1)"]);
    assert!(shown("FROM alpine AS STAge0\nFROM scratch\nCOPY --from=staGE0 /a /b\n").contains("copy #1 /a"));
    // Of two stages of one name the later counts, for those behind it.
    let twice = "FROM scratch AS a\nENV A=1\nFROM a AS b\nFROM scratch AS a\nENV A=2\nFROM a\n";
    assert_eq!(history(&ok(twice)), ["(ENV A=2)"]);
    assert_eq!(history(&with(twice, &target("b"))), ["(ENV A=1)"]);
    // A stage may be called as the image it stands upon.
    assert!(shown("FROM alpine AS alpine\nENV A=1\n").contains("docker-image://docker.io/library/alpine"));
}

// items: G004
#[test]
fn nothing_to_stand_upon() {
    for text in ["FROM scratch\n", "FROM --platform=linux/arm64 scratch\n"] {
        let lowered = ok(text);
        assert!(lowered.base.is_none() && lowered.config.history.is_empty(), "{text}");
        assert!(shown(text).starts_with("result scratch\nplatform linux/amd64\n"), "{text}");
        let config = &lowered.config;
        assert_eq!((config.os.as_str(), config.architecture.as_str()), ("linux", "amd64"));
        assert_eq!(config.config.env, ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
        assert_eq!(config.config.working_dir, "/");
    }
    // An image without layers is no source either, but its configuration counts.
    assert_eq!(shown("FROM empty\n"), "result scratch\nplatform linux/amd64\n");
    assert_eq!(ok("FROM empty\n").config.config.env[0], "E=1");
}

// items: G008
#[test]
fn names_of_images() {
    for (written, known) in [
        ("alpine", "docker.io/library/alpine:latest@sha256:"),
        ("library/alpine:latest", "docker.io/library/alpine:latest@sha256:"),
        ("docker.io/alpine", "docker.io/library/alpine:latest@sha256:"),
        ("index.docker.io/library/alpine", "docker.io/library/alpine:latest@sha256:"),
        ("localhost:5000/team/tool:v1", "localhost:5000/team/tool:v1@sha256:"),
    ] {
        let shown = shown(&format!("FROM {written}\n"));
        assert!(shown.contains(&format!("source docker-image://{known}")), "{written}: {shown}");
    }
    let lowered = ok("FROM alpine\nCOPY --from=busybox:1 /a /\n");
    let used: Vec<_> = lowered.bases.iter().map(|used| (used.name.as_str(), used.reference.to_string())).collect();
    assert_eq!(used.len(), 2);
    assert!(used.iter().all(|(_, reference)| reference.contains("@sha256:")), "{used:?}");
    for (mode, expect) in
        [(ResolveMode::Pull, "image.resolvemode=pull"), (ResolveMode::Local, "image.resolvemode=local")]
    {
        let asked = Request { resolve_mode: mode, ..request() };
        let shown = crate::common::show(&Ok(with("FROM alpine\n", &asked)));
        assert!(shown.contains(expect), "{shown}");
    }
}

// items: G010
#[test]
fn inherited_configuration() {
    let lowered = ok("FROM app\n");
    let (config, image) = (&lowered.config.config, &lowered.config);
    assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("app", "/srv/app"));
    assert_eq!(
        (config.entrypoint.as_deref(), config.cmd.as_deref()),
        (Some(&["/entry".to_owned()][..]), Some(&["arg".to_owned()][..]))
    );
    assert_eq!(
        (config.shell.as_slice(), config.env.as_slice()),
        (&["/bin/ash", "-c"].map(str::to_owned)[..], &["A=base", "PATH=/usr/bin"].map(str::to_owned)[..])
    );
    assert!(config.volumes.contains_key("/data"));
    assert_eq!(image.history.len(), 1);
    // The author stays, the time of creation does not, and triggers are used up.
    let alpine = ok("FROM alpine\n").config;
    assert_eq!(
        (alpine.author.as_str(), alpine.created, alpine.config.labels["from"].as_str()),
        ("Alpine", None, "alpine")
    );
    assert_eq!(
        alpine.history[0].created.as_deref(),
        Some("2026-01-02T03:04:05Z"),
        "history of the base keeps its times"
    );
    assert!(ok("FROM triggers\n").config.config.on_build.is_empty());
    let all = "FROM scratch AS a\nWORKDIR /w\nUSER u\nENV E=1\nLABEL l=1\nEXPOSE 1\nVOLUME /v\nSTOPSIGNAL KILL\nSHELL [\"s\"]\nHEALTHCHECK NONE\nENTRYPOINT [\"e\"]\nCMD [\"c\"]\nMAINTAINER m\nONBUILD ENV T=1\n";
    let (base, child) = (ok(all).config, ok(&format!("{all}FROM a\n")).config);
    assert_eq!(child.config.env.last().map(String::as_str), Some("T=1"));
    let mut expect = base.config.clone();
    expect.on_build.clear();
    expect.env.push("T=1".to_owned());
    assert_eq!(child.config, expect);
    assert_eq!(child.author, "m");
}

// items: G009 G001
#[test]
fn platforms_of_stages() {
    let arm = Request { platform: Some(Platform::new("linux", "arm64", None)), ..request() };
    let shown = |text: &str| crate::common::show(&Ok(with(text, &arm)));
    assert!(shown("FROM alpine\n").contains("platform linux/arm64\n  source docker-image"));
    assert!(shown("FROM --platform=linux/s390x alpine\n").contains("platform linux/s390x\n  source docker-image"));
    let cross = shown("FROM --platform=$BUILDPLATFORM alpine AS b\nRUN x\nFROM scratch\nCOPY --from=b /x /\n");
    assert!(cross.contains("platform linux/amd64\n  exec"), "{cross}");
    assert!(cross.ends_with("platform linux/arm64\n"), "{cross}");
    // What was asked for is what the configuration says.
    assert_eq!(with("FROM --platform=$BUILDPLATFORM alpine\n", &arm).config.architecture, "arm64");
}

// items: G011 G012
#[test]
fn triggers_of_stages() {
    // A trigger that copies from another stage, from an image, from a context; mounts likewise.
    let stage = "FROM alpine AS src\nRUN a\nFROM busybox:1 AS base\nONBUILD COPY --from=src /in /out\nFROM base AS mid\nRUN b\nFROM scratch\nCOPY --from=mid /out /\n";
    let lowered = ok(stage);
    assert!(
        names(&lowered).iter().any(|name| name.ends_with("ONBUILD COPY --from=src /in /out")),
        "{:?}",
        names(&lowered)
    );
    assert!(names(&lowered).iter().any(|name| name.ends_with("RUN a")), "what a trigger needs is built");
    for trigger in ["RUN --mount=from=src,target=/m b", "RUN --mount=type=cache,from=src,target=/m b"] {
        let text = format!("FROM alpine AS src\nRUN a\nFROM busybox:1 AS base\nONBUILD {trigger}\nFROM base\n");
        let steps = execs(&ok(&text));
        assert_eq!(steps.len(), 2, "{trigger}");
        assert_eq!(steps[1].mounts[1].dest, "/m");
    }
    let image = "FROM scratch AS base\nONBUILD COPY --from=alpine /a /\nFROM base\n";
    assert!(shown(image).contains("docker-image://docker.io/library/alpine"));
    let named = with(
        "FROM scratch AS base\nONBUILD COPY --from=files /a /\nFROM base\n",
        &contexts(&[("files", "local:files")]),
    );
    assert!(crate::common::show(&Ok(named)).contains("source local://files"));
    // Triggers of an image whose triggers were found in a context of that name.
    let replaced = with("FROM other\n", &contexts(&[("other", "docker-image://triggers")]));
    assert_eq!(history(&replaced).len(), 3);
    assert!(replaced.config.config.on_build.is_empty());
    // One stage's triggers run in each of its children, and with what the child says.
    let two = "FROM alpine AS base\nENV X=base\nONBUILD RUN echo $X\nFROM base AS one\nFROM base\nCOPY --from=one / /\nENV X=child\n";
    assert_eq!(env(&ok(two)), ["PATH=/bin", "X=base"]);
    // A trigger that needs a stage that comes later, or its own.
    fails(
        "FROM scratch AS base\nONBUILD COPY --from=late / /\nFROM base\nFROM scratch AS late\nCOPY --from=1 / /\n",
        "circular",
    );
    fails(
        "FROM scratch AS base\nONBUILD COPY --from=late / /\nFROM base AS x\nFROM scratch AS late\nFROM x\n",
        "cannot copy from stage \"late\"",
    );
}

// items: F041 G011
#[test]
fn triggers_in_the_configuration() {
    let text = "FROM scratch\nONBUILD RUN <<A cat && cat <<-B\n$x\nA\n\ty\n\tB\nONBUILD COPY --chown=$U a b\nonbuild run \\\n  c\n";
    let triggers = ok(text).config.config.on_build;
    assert_eq!(triggers, ["RUN <<A cat && cat <<-B\n$x\nA\n\ty\nB", "COPY --chown=$U a b", "run   c"]);
    assert!(history(&ok(text)).is_empty(), "they are no part of the history");
    let child = format!("{text}FROM 0\n").replace("FROM scratch\n", "FROM scratch AS a\n").replace("FROM 0", "FROM a");
    fails(&child.replace("$U", "${U:?who}"), "who");
}

// items: G005 G014 G015 G016
#[test]
fn targets_and_order() {
    assert_eq!(history(&ok("FROM scratch AS z\nENV A=1\nFROM scratch\nENV B=1\n")), ["(ENV B=1)"]);
    assert_eq!(history(&ok("FROM scratch AS z\nENV A=1\nFROM scratch AS a\nENV B=1\n")), ["(ENV B=1)"]);
    assert_eq!(history(&with("FROM scratch AS z\nENV A=1\nFROM scratch\nENV B=1\n", &target(""))), ["(ENV B=1)"]);
    for index in ["0", "1"] {
        let text = "FROM scratch AS a\nFROM scratch\n";
        fails_with(text, &target(index), &format!("target stage \"{index}\" could not be found"));
    }
    for (instruction, expect) in [
        ("COPY --from=b / /", "cannot copy from stage \"b\", it needs to be defined before current stage \"a\""),
        (
            "RUN --mount=from=b,target=/m x",
            "cannot mount from stage \"b\" to \"/m\", stage needs to be defined before current command",
        ),
        ("COPY --from=2 / /", "cannot copy from stage \"2\", it needs to be defined before current stage \"a\""),
    ] {
        fails(&format!("FROM scratch AS z\nFROM scratch AS a\n{instruction}\nFROM scratch AS b\nFROM a\n"), expect);
    }
    // Stages that nobody needs may ask for what is not there, copies of later stages among it.
    ok("FROM scratch AS a\nCOPY --from=c / /\nFROM missing AS b\nRUN x\nFROM scratch AS c\nCOPY <<E /\nE\nFROM c\n");
}

// items: G013
#[test]
fn circles() {
    let circle = |text: &str| {
        let error = crate::build(text, &request()).expect_err(text);
        let last = error.diagnostics.last().expect("an error").clone();
        let related: Vec<_> = last.related.iter().map(|lines| lines.start).collect();
        (last.message.clone(), last.lines.start, related)
    };
    let expect = |label: &str| format!("circular dependency detected on stage: {label}");
    let three = "FROM scratch AS a\nCOPY --from=b / /\nFROM scratch AS b\nRUN --mount=from=c,target=/m x\nFROM scratch AS c\nCOPY --from=a / /\n";
    assert_eq!(circle(three), (expect("a"), 2, vec![4, 6]));
    let own = "FROM scratch AS a\nRUN --mount=type=cache,from=a,target=/m x\n";
    assert_eq!(circle(own), (expect("a"), 2, vec![]));
}

// items: G017
#[test]
fn stages_replaced_by_contexts() {
    let text = "FROM missing AS base\nARG X=${Y:?never}\nRUN never\nFROM base AS mid\nRUN m\nFROM mid\nCOPY --from=base /a /\n";
    let lowered = with(text, &contexts(&[("base", "docker-image://app")]));
    assert_eq!(execs(&lowered).len(), 1);
    assert_eq!(lowered.config.config.user, "app", "the configuration is the context's");
    assert_eq!(lowered.base.as_ref().expect("a base").config.config.user, "app");
    assert!(names(&lowered)[0].starts_with("[context base]"), "{:?}", names(&lowered));
    // A directory takes the place of a stage, too; names are found in any case.
    let files = with(
        "FROM missing AS Base\nRUN never\nFROM scratch\nCOPY --from=base /a /\n",
        &contexts(&[("base", "local:base")]),
    );
    assert!(crate::common::show(&Ok(files)).contains("local.followpaths=[\"a\"]"));
    // A stage in between is replaced with all it stands upon.
    let mid = with(text, &contexts(&[("mid", "docker-image://alpine"), ("base", "docker-image://scratch")]));
    assert_eq!((execs(&mid).len(), mid.config.author.as_str()), (0, "Alpine"));
    assert!(with("FROM x AS a\n", &contexts(&[("a", "docker-image://triggers")])).config.config.on_build.is_empty());
}

// items: G018
#[test]
fn dockerfiles_for_windows_are_read() {
    let text = "# escape=`\nFROM base\nSHELL [\"powershell\", \"-Command\"]\nRUN Get-Item `\n  C:\\x\nCOPY a C:\\dir\\\nCMD [\"cmd\"]\n";
    assert_eq!(crate::common::read(text).stages[0].instructions.len(), 4);
    let windows = Request { platform: Some(Platform::new("windows", "amd64", None)), ..request() };
    let lowered = with("FROM scratch\nCOPY a /\nCMD echo\n", &windows);
    assert_eq!((lowered.config.os.as_str(), lowered.config.config.env.len()), ("windows", 0), "A016: no PATH");
    assert_eq!(lowered.config.config.cmd, Some(["cmd", "/S", "/C", "echo"].map(str::to_owned).to_vec()));
}
