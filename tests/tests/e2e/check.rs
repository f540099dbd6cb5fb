//! Questions that build nothing: `rbuild check`, `--check`, `--call`; warnings of builds; `# syntax=`.

use crate::lab::{Lab, Outcome, binary, have, path, run};

const WARNS: &str =
    "FROM scratch AS unused\nENV a b\n\n# app is all there is\nFROM scratch AS App\nARG WHO=me\nCOPY a /\n";
const FINE: &str = "FROM scratch\nCOPY a /\n";
const RULES: &str = "https://docs.docker.com/go/dockerfile/rule";

fn json(outcome: &Outcome) -> serde_json::Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
}

// items: O004 O007 L001 L002
#[test]
fn check_tells_warnings_and_exits_with_one() {
    let lab = Lab::empty();
    let fine = path(&lab.context(FINE, &[("a", "A")]));
    lab.rbuild(["check", &fine]).ok().prints("Check complete, no warnings found.");
    let before = lab.content();
    let warns = path(&lab.context(WARNS, &[("a", "A")]));
    let checked = lab.rbuild(["check", &warns]).exits(1).says_not("[internal]");
    let want = format!(
        "Check complete, 2 warnings have been found!

WARNING: LegacyKeyValueFormat - {RULES}/legacy-key-value-format/
\"ENV key=value\" should be used instead of legacy \"ENV key value\" format
Dockerfile:2
--------------------
   1 |     FROM scratch AS unused
   2 | >>> ENV a b
   3 |     
   4 |     # app is all there is
--------------------

WARNING: StageNameCasing - {RULES}/stage-name-casing/
Stage name 'App' should be lowercase
Dockerfile:5
--------------------
   3 |     
   4 |     # app is all there is
   5 | >>> FROM scratch AS App
   6 |     ARG WHO=me
   7 |     COPY a /
--------------------
"
    );
    assert_eq!(checked.stdout, want);
    for args in [&["build", "--check"][..], &["build", "--call=check"], &["--call", "lint", "--progress=quiet"]] {
        let outcome = lab.rbuild(args.iter().copied().chain(["-t", "x", &warns])).exits(1);
        assert_eq!(outcome.stdout, want);
    }
    lab.rbuild(["build", "--call=check,ignorestatus=true", &warns]).ok();
    // A target limits it to what that needs: the rule about ENV needs the stage to be walked.
    let app = lab.rbuild(["check", "--target=app", "--format=json", &warns]).exits(1);
    assert_eq!(json(&app)["warnings"].as_array().unwrap().len(), 1);
    lab.rbuild(["check", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all", &warns]).ok();
    assert_eq!(lab.content(), before, "nothing is kept");
    lab.say("images -q").ok().prints("");
}

// items: O007 L003 L005
#[test]
fn check_tells_errors_after_warnings() {
    let lab = Lab::empty();
    for (dockerfile, warning, error) in [
        (
            "FROM scratch AS A\nRUNN x\n",
            "StageNameCasing",
            "ERROR: dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)\nDockerfile:2\n",
        ),
        ("FROM 127.0.0.1:1/no AS A\n", "StageNameCasing", "Dockerfile:1\n"),
        (
            "# check=error=true\nFROM scratch AS A\n",
            "StageNameCasing",
            "ERROR: lint violation found for rules: StageNameCasing\n",
        ),
    ] {
        let context = path(&lab.context(dockerfile, &[]));
        let text = lab.rbuild(["check", &context]).exits(1).says(error).says(">>>");
        assert!(text.stdout.contains(warning), "{text:?}");
        let outcome = lab.rbuild(["check", "--format=json", &context]).exits(1).says("ERROR: ");
        let found = json(&outcome);
        assert_eq!(found["warnings"][0]["ruleName"], warning);
        let message = found["buildError"]["message"].as_str().unwrap();
        assert!(
            outcome.stderr.contains(message) && found["buildError"]["location"]["ranges"][0]["start"]["line"].is_u64()
        );
        // A build says the same.
        lab.build_dir(context.as_ref(), &[]).exits(1).says("1 warning found").says(warning).says(message);
    }
    lab.rbuild_with_input(["check", "-"], b"FROM scratch\nLABEL a b\n").exits(1).says_not("ERROR");
    lab.rbuild_with_input(["check", "-f", "-", "."], b"FROM scratch\nLABEL a=b\n").ok();
}

// items: O004 O005 O006
#[test]
fn outline_and_targets() {
    let lab = Lab::empty();
    let context = path(&lab.context(WARNS, &[]));
    let asked = |call: &str| lab.rbuild(["build", "--build-arg=WHO=you", &format!("--call={call}"), &context]).ok();
    let outline =
        "TARGET:      app\nDESCRIPTION: is all there is\n\nBUILD ARG   VALUE   DESCRIPTION\nWHO         you\n\n";
    assert_eq!(asked("outline").stdout, outline);
    assert_eq!(asked("targets").stdout, "TARGET        DESCRIPTION\nunused\napp (default) is all there is\n");
    let outline = json(&asked("outline,format=json"));
    assert_eq!((&outline["name"], &outline["args"][0]["value"]), (&"app".into(), &"you".into()));
    let targets = json(&asked("targets,format=json"));
    assert_eq!((&targets["targets"][1]["default"], &targets["targets"][0]["base"]), (&true.into(), &"scratch".into()));
    assert!(asked("subrequests.describe").stdout.contains("\noutline "));
    for (bad, said) in [("nope", "unknown method `nope`"), ("check,format=yaml", "unknown format `yaml`")] {
        lab.rbuild(["build", &format!("--call={bad}"), &context]).exits(2).says(said);
    }
    lab.rbuild(["build", "--check", "--call=outline", &context]).exits(2).says("cannot be used with");
    let broken = path(&lab.context("FRMO scratch\n", &[]));
    for call in ["outline", "targets"] {
        let call = format!("--call={call}");
        lab.rbuild(["build", &call, &broken]).exits(1).says("did you mean FROM?").prints("");
    }
}

// items: L001
#[test]
fn builds_list_warnings_at_their_end() {
    let lab = Lab::empty();
    let context = path(&lab.context(WARNS, &[("a", "A")]));
    let listed = "\n 1 warning found (use --debug to expand):\n - StageNameCasing: Stage name 'App' should be lowercase (line 5)\n";
    lab.rbuild(["build", "--progress=plain", &context]).ok().says(listed).says_not(">>>");
    let expanded = "\n 1 warning found:\n - StageNameCasing: Stage name 'App' should be lowercase (line 5)\nStage names should be lowercase\nMore info: ";
    lab.rbuild(["--debug", "build", "--progress=plain", &context])
        .ok()
        .says(expanded)
        .says("   5 | >>> FROM scratch AS App\n");
    lab.rbuild(["build", "-q", &context]).ok().says_not("warning");
}

// items: L004
#[test]
fn warnings_belong_to_the_loading_of_the_dockerfile() {
    let lab = Lab::empty();
    let context = path(&lab.context(WARNS, &[("a", "A")]));
    let raw = lab.rbuild(["build", "--progress=rawjson", &context]).ok().stderr;
    let lines: Vec<serde_json::Value> = raw.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let warning = lines.iter().find_map(|line| line["warnings"].get(0)).expect("a warning");
    let named =
        |line: &&serde_json::Value| line["vertexes"][0]["name"] == "[internal] load build definition from Dockerfile";
    let vertex = lines.iter().find(named).expect("the Dockerfile is loaded");
    assert_eq!(warning["vertex"], vertex["vertexes"][0]["digest"]);
    assert_eq!(warning["url"], format!("{RULES}/stage-name-casing/"));
    assert_eq!(
        (&warning["range"][0]["start"]["line"], &warning["sourceInfo"]["filename"]),
        (&5.into(), &"Dockerfile".into())
    );
    // "Stage names should be lowercase", as bytes are written in JSON.
    assert_eq!(warning["detail"][0], "U3RhZ2UgbmFtZXMgc2hvdWxkIGJlIGxvd2VyY2FzZQ==");
}

#[test]
fn colours_are_for_terminals_only() {
    if !have(&["script"]) {
        return;
    }
    let lab = Lab::empty();
    let context = path(&lab.context("FROM scratch AS A\nRUNN x\n", &[]));
    let typed = |line: &str| {
        run(lab.command("script").args(["-qec", line, "/dev/null"]).env("R", path(binary())).env("TERM", "xterm"), b"")
    };
    let check = |before: &str| typed(&format!("{before} $R build --check --progress=quiet {context}")).exits(1).stdout;
    let colored = check("");
    assert!(
        colored.contains("\u{1b}[1;33mWARNING:\u{1b}[0m") && colored.contains("\u{1b}[1;31m>>>\u{1b}[0m"),
        "{colored}"
    );
    assert!(check("NO_COLOR=").contains("\u{1b}[1;33m"), "an empty NO_COLOR says nothing");
    for plain in [check("NO_COLOR=1"), check("TERM=dumb")] {
        assert!(!plain.contains("\u{1b}[1;3") && plain.contains("WARNING: StageNameCasing"), "{plain}");
    }
}

// items: F024 F025
#[test]
fn syntax_images_other_than_ours_are_refused() {
    let lab = Lab::empty();
    for (syntax, accepted) in [
        ("# syntax=docker/dockerfile:1\n", true),
        ("# syntax = docker.io/docker/dockerfile-upstream:master\n", true),
        ("#syntax=dockerfile.v0\n", true),
        ("# syntax=example.com/other:1 --with words\n", false),
        ("// syntax=example.com/other\n", false),
    ] {
        let context = path(&lab.context(&format!("{syntax}FROM scratch\nCOPY a /\n"), &[("a", "A")]));
        for args in [&["build"][..], &["check"], &["build", "--call=outline"]] {
            let outcome = lab.rbuild(args.iter().copied().chain([context.as_str()]));
            if accepted {
                outcome.ok();
            } else {
                outcome.exits(1).says("frontends that are images are not supported yet").says("Dockerfile:1");
            }
        }
    }
    let context = path(&lab.context("# syntax=example.com/other\nFROM scratch\n", &[]));
    lab.rbuild(["build", "--build-arg=BUILDKIT_SYNTAX=dockerfile.v0", &context]).ok();
    let context = path(&lab.context("FROM scratch\n", &[]));
    let refused = lab.rbuild(["build", "--build-arg=BUILDKIT_SYNTAX=example.com/other", &context]).exits(1);
    assert_eq!(refused.stderr.lines().filter(|line| line.contains("example.com/other")).count(), 1, "{refused:?}");
}
