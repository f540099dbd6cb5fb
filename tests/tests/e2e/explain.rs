//! `rbuild explain`: the graph of a build, with keys, and nothing done.

use serde_json::Value;

use crate::lab::{Lab, path};

const STAGES: &str = "\
FROM busybox AS tools
RUN echo tools > /made
FROM tools AS app
COPY a.txt /a
COPY --from=tools /made /copied
RUN echo app
FROM scratch AS other
COPY a.txt /
";

fn json(lab: &Lab, context: &str, args: &[&str]) -> Value {
    let outcome = lab.rbuild(["explain", "--format=json"].iter().chain(args).copied().chain([context])).ok();
    serde_json::from_str(&outcome.stdout).expect("JSON")
}

/// Returns name and key of each vertex.
fn keys(explained: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let vertices = explained["vertices"].as_array().expect("vertices");
    vertices.iter().map(|vertex| (text(&vertex["name"]), text(&vertex["key"]))).collect()
}

#[test]
fn tree_of_a_target_with_its_keys() {
    let lab = Lab::new();
    let context = path(&lab.context(STAGES, &[("a.txt", "A")]));
    let before = lab.content();
    let tree = lab.rbuild(["explain", "--target=app", &context]).ok();
    assert_eq!(lab.content(), before, "nothing is built or stored");
    assert_eq!(tree.stderr, "");
    let lines: Vec<_> = tree.stdout.lines().collect();
    let architecture = lab.inspect("busybox")["Architecture"].as_str().expect("a string").to_owned();
    assert_eq!(lines[0], format!("Dockerfile: app for linux/{architecture}"));
    let shown = |text: &str| lines.iter().filter(|line| line.ends_with(text)).count();
    assert_eq!(shown("  [app 3/3] RUN echo app"), 1, "{}", tree.stdout);
    assert_eq!(shown("├─ ~ [internal] load build context"), 1, "{}", tree.stdout);
    assert_eq!(shown("[tools 2/2] RUN echo tools > /made"), 1, "{}", tree.stdout);
    assert_eq!(shown("[tools 2/2] RUN echo tools > /made (above)"), 1, "{}", tree.stdout);
    assert!(!tree.stdout.contains("[other"), "{}", tree.stdout);
    assert!(!tree.stdout.contains("nobody was asked"), "the store knows the base: {}", tree.stdout);
}

/// The keys are not only plausible: the solver keeps what it made under them.
#[test]
fn keys_are_those_that_a_build_leaves_in_the_cache() {
    let lab = Lab::new();
    let context = lab.context(STAGES, &[("a.txt", "A")]);
    let explained = json(&lab, &path(&context), &["--target=app"]);
    let cached = || -> Vec<u8> {
        let files = ["cache.sqlite", "cache.sqlite-wal"].map(|name| lab.store().join("db/v1").join(name));
        files.iter().flat_map(|file| std::fs::read(file).unwrap_or_default()).collect()
    };
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let raw = |key: &str| key.as_bytes()["sha256:".len()..].chunks(2).map(byte).collect::<Vec<u8>>();
    let known: Vec<_> = keys(&explained).into_iter().filter(|(_, key)| key != "content").collect();
    let missing = |cached: &[u8]| -> Vec<String> {
        let gone = known.iter().filter(|(_, key)| !cached.windows(32).any(|found| found == raw(key)));
        gone.map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(missing(&cached()).len(), known.len(), "nothing was built yet");
    lab.build_dir(&context, &["--target=app"]).ok();
    assert_eq!(missing(&cached()), Vec::<String>::new());
}

#[test]
fn a_change_changes_its_own_key_only() {
    let lab = Lab::new();
    let explain =
        |dockerfile: &str, args: &[&str]| keys(&json(&lab, &path(&lab.context(dockerfile, &[("a.txt", "A")])), args));
    let first = explain(STAGES, &["--target=app"]);
    let second = explain(&STAGES.replace("echo tools", "echo other"), &["--target=app"]);
    let changed: Vec<_> = first.iter().zip(&second).filter(|(one, two)| one.1 != two.1).collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert!(changed[0].0.0.contains("echo tools"));
    assert!(first.iter().any(|(name, key)| name.contains("load build context") && key == "content"));
    assert!(first.iter().all(|(_, key)| key == "content" || key.starts_with("sha256:")), "{first:?}");
    let host = explain(STAGES, &["--target=app", "--network=host"]);
    let runs = first.iter().zip(&host).filter(|(one, two)| one.1 != two.1);
    assert!(runs.clone().count() == 2 && runs.clone().all(|(one, _)| one.0.contains("RUN")));
}

#[test]
fn all_stages_of_a_file_without_asking_anybody() {
    let lab = Lab::empty();
    let context = lab.context(&STAGES.replace("busybox", "registry.invalid/base:1"), &[]);
    let file = path(&context.join("Dockerfile"));
    let explained = json(&lab, &file, &["--offline", "--all"]);
    let names: Vec<_> = explained["targets"].as_array().unwrap().iter().map(|target| &target["name"]).collect();
    assert_eq!(names, ["tools", "app", "other"]);
    let mut known = Vec::new();
    for vertex in explained["vertices"].as_array().unwrap() {
        let inputs = vertex["inputs"].as_array().unwrap();
        assert!(inputs.iter().all(|input| known.contains(&&input["vertex"])), "inputs come first: {vertex}");
        known.push(&vertex["digest"]);
    }
    assert!(keys(&explained).contains(&("[tools 1/2] FROM registry.invalid/base:1".to_owned(), "image".to_owned())));
    let dot = lab.rbuild(["explain", "--offline", "--all", "--format=dot", &file]).ok();
    assert!(dot.stdout.starts_with("digraph build {\n") && dot.stdout.ends_with("}\n"), "{}", dot.stdout);
    let mermaid = lab.rbuild(["explain", "--offline", "--format=mermaid", &file]).ok();
    assert!(mermaid.stdout.starts_with("flowchart TD\n"), "{}", mermaid.stdout);
    let piped = lab.rbuild_with_input(["explain", "--offline", "-"], STAGES.as_bytes()).ok();
    assert!(piped.stdout.contains("other for linux/"), "{}", piped.stdout);
    let anew = json(&lab, &file, &["--offline", "--target=tools", "--no-cache"]);
    assert_eq!(anew["vertices"][1]["noCache"], true);
    let two = json(&lab, &file, &["--offline", "--platform=linux/amd64,linux/arm64"]);
    assert_eq!(two["targets"][1]["platform"], "linux/arm64");
}

#[test]
fn what_cannot_be_explained_is_said() {
    let lab = Lab::empty();
    let context = path(&lab.context("FROM scratch AS only\nRUNN x\n", &[]));
    let broken = lab.rbuild(["explain", &context]).exits(1).says("did you mean RUN?").says("Dockerfile:2");
    assert_eq!(broken.stdout, "");
    let context = path(&lab.context("FROM scratch AS only\nCOPY a /\n", &[]));
    for (args, said) in [
        (&["--target=onli", &context][..], "did you mean only?"),
        (&["https://example.com/x.git"], "would have to be fetched"),
        (&["-f", "x", &format!("{context}/Dockerfile")], "either it or -f"),
        (&["./missing"], "missing"),
        (
            &["--build-arg=SOURCE_DATE_EPOCH=s", "--build-context=s=https://example.com/x", &context],
            "SOURCE_DATE_EPOCH",
        ),
    ] {
        let outcome = lab.rbuild(["explain", "--offline"].iter().chain(args)).exits(1).says(said);
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    }
    lab.rbuild(["explain", "--all", "--target=only", &context]).exits(2);
    lab.rbuild(["explain", "--format=svg", &context]).exits(2);
}
