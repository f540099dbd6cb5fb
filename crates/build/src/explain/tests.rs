//! Renderings of one small graph: `testdata/explain/*`, rewritten by `UPDATE_GOLDEN=1`.

use std::path::Path;

use super::*;

/// Two stages that share a base, a context, a step without cache, and names with all that a format may trip over.
fn example() -> Explanation {
    let digest = |text: &str| Digest::of(text.as_bytes());
    let input = |step, by_content| ExplainedInput { from: ExplainedOutput { step, output: 0 }, by_content };
    let step = |name: &str, kind, key, inputs: Vec<ExplainedInput>| ExplainedStep {
        digest: digest(name),
        name: name.to_owned(),
        kind,
        source: (kind == "source").then(|| format!("local://{name}")),
        platform: None,
        key,
        ignore_cache: false,
        inputs,
        lines: None,
    };
    let known = |text: &str| ExplainedKey::Known(digest(text));
    let platform = Platform::new("linux", "amd64", None);
    let anew = ExplainedStep {
        ignore_cache: true,
        lines: Some((4, 6)),
        platform: Some(platform.clone()),
        ..step("[a 3/3] RUN <<EOF (echo \"x\\n\" #1; true…)\nEOF", "exec", known("run"), vec![input(2, false)])
    };
    let steps = vec![
        step("[a 1/3] FROM base", "source", ExplainedKey::Image, vec![]),
        step("[internal] load build context", "source", ExplainedKey::Content, vec![]),
        step("[a 2/3] COPY . .", "file", known("copy"), vec![input(0, false), input(1, true)]),
        anew,
        step("https://example.com/x", "source", ExplainedKey::Remote, vec![]),
        step("[b 1/1] COPY --from=a [\"<x>\", \"/\"]", "file", known("from"), vec![input(0, false), input(3, true)]),
        step("[b 2/2] ADD https://example.com/x /", "file", known("add"), vec![input(5, false), input(4, true)]),
    ];
    let target = |name: &str, step: Option<usize>| ExplainedTarget {
        name: Some(name.to_owned()),
        platform: platform.clone(),
        result: step.map(|step| ExplainedOutput { step, output: 0 }),
    };
    let targets = vec![target("a", Some(3)), target("none", None), target("b", Some(6))];
    Explanation { dockerfile: "Dockerfile".to_owned(), targets, steps }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test may be told to rewrite its cases")]
fn renderings() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let example = example();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/explain");
    for (name, text) in [
        ("tree.txt", example.to_tree(None)),
        ("narrow.txt", example.to_tree(Some(60))),
        ("graph.dot", example.to_dot()),
        ("graph.mermaid", example.to_mermaid()),
        ("graph.json", example.to_json()),
    ] {
        let path = directory.join(name);
        if update {
            std::fs::write(&path, &text).expect("a golden file");
        }
        assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{name}");
    }
}

/// X90: neither stack nor output grows with the square of a chain.
#[test]
fn deep_graphs_are_drawn() {
    let mut deep = Explanation { steps: vec![example().steps[0].clone()], ..example() };
    for index in 0..10_000 {
        let from = ExplainedOutput { step: index, output: 0 };
        let above = ExplainedInput { from, by_content: true };
        deep.steps.push(ExplainedStep { inputs: vec![above, above], ..example().steps[2].clone() });
    }
    deep.targets.truncate(1);
    deep.targets[0].result = Some(ExplainedOutput { step: 10_000, output: 0 });
    assert_eq!(deep.to_tree(None).lines().filter(|line| line.contains("(above)")).count(), 10_000);
    assert!(deep.to_tree(None).len() < 10_000_000);
}
