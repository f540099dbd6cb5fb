//! What becomes of explanations.

use std::time::SystemTime;

use rbuild_solver::{Alternative, Change, ExplainedInput, Known, Lifetime, Link, MemoryCache, Others, Verdict, Via};

use super::*;
use crate::config::Config;
use crate::{decode, encode};

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn key(text: &str) -> Key {
    Key::root(&digest(text), 0)
}

/// What an input is known by: a key of some step, or (`=`) a content.
fn alternative(text: &str) -> Alternative {
    match text.strip_prefix('=') {
        Some(content) => {
            let content = digest(content);
            Alternative { known: Known::stored(Key::content(&content)), content: Some(content), targets: Vec::new() }
        }
        None => Alternative { known: Known::stored(key(text)), content: None, targets: Vec::new() },
    }
}

/// A step called `name`, known by `keys`; each input is a vertex and what it is known by.
fn step(name: &str, keys: &[&str], inputs: &[(&str, &[&str])]) -> Explanation {
    let input = |(vertex, alternatives): &(&str, &[&str])| ExplainedInput {
        vertex: digest(vertex),
        output: 0,
        selector: None,
        alternatives: alternatives.iter().map(|text| alternative(text)).collect(),
    };
    Explanation {
        vertex: digest(name),
        name: name.to_owned(),
        output: 0,
        operation: digest(name),
        probes: Vec::new(),
        inputs: inputs.iter().map(input).collect(),
        keys: keys.iter().map(|text| Known::stored(key(text))).collect(),
        verdict: Verdict::Unknown,
    }
}

fn collect(explanations: &[Explanation], target: &str, cache: &MemoryCache) -> Collected {
    let mut collected = Collected::default();
    collected.add(explanations, &[Edge { vertex: digest(target), output: 0 }], cache).unwrap();
    collected
}

/// Returns the steps as text: `name(inputs)`, each input its alternatives; contents are `=`.
fn shown(collected: &Collected) -> String {
    let name = |index: usize| match collected.steps[index].name.as_str() {
        "" => "=".to_owned(),
        name => name.to_owned(),
    };
    let input = |input: &BTreeSet<(Option<Digest>, usize)>| {
        input.iter().map(|(_, index)| name(*index)).collect::<Vec<_>>().join("|")
    };
    let step = |(index, step): (usize, &Step)| {
        let inputs: Vec<String> = step.inputs.iter().map(input).collect();
        format!("{}({})", name(index), inputs.join(","))
    };
    collected.steps.iter().enumerate().map(step).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_a_target_stands_on_is_gathered() {
    let steps = [
        step("image", &["image"], &[]),
        step("other", &["other"], &[]),
        step("copy", &["copy"], &[("image", &["image"]), ("context", &["=files"])]),
        step("run", &["run"], &[("copy", &["copy", "=all"])]),
        step("aside", &["aside"], &[("other", &["other"])]),
    ];
    let collected = collect(&steps, "run", &MemoryCache::new());
    assert_eq!(shown(&collected), "image() =() copy(image,=) =() run(copy|=)");
    assert!(collected.step_of(&Edge { vertex: digest("run"), output: 0 }).is_some());
    assert!(collected.step_of(&Edge { vertex: digest("aside"), output: 0 }).is_none());
}

#[test]
fn circles_and_what_only_this_build_knows_are_left_out() {
    let mut context = step("context", &["context"], &[]);
    context.keys[0].lifetime = Lifetime::Session;
    let mut unknown = step("unknown", &["unknown"], &[("context", &["context"])]);
    unknown.inputs[0].alternatives[0].known.lifetime = Lifetime::Session;
    let steps = [
        context,
        unknown,
        step("image", &["image"], &[]),
        // Leaves its input as it is, so that by content it is what is made of itself.
        step("touch", &["same"], &[("image", &["image"])]),
        step("touch again", &["same"], &[("touch", &["same", "=files"])]),
        step("last", &["last"], &[("touch again", &["same"]), ("unknown", &["unknown", "=part"])]),
    ];
    let collected = collect(&steps, "last", &MemoryCache::new());
    assert_eq!(shown(&collected), "image() touch(image) =() last(touch,=)");
    let config = Config { layers: Vec::new(), records: encode::records(&collected) };
    let graph = decode::Graph::read(&config, &HashMap::new()).unwrap();
    assert_eq!((graph.origins.len(), graph.foreign), (4, 0));
}

#[test]
fn contents_that_the_cache_knows_are_added() {
    let cache = MemoryCache::new();
    let content = digest("files");
    let via = |operation| Via { operation: digest(operation), input: 0, selector: None, output: 0 };
    let link = |operation, target| Link { source: Key::content(&content), via: via(operation), target: key(target) };
    cache
        .commit(&Change {
            origins: vec![(Key::content(&content), Origin::Content(content))],
            links: vec![link("run", "run"), link("another", "run")],
            others: Others::Keep,
            records: Vec::new(),
            at: SystemTime::UNIX_EPOCH,
        })
        .unwrap();
    let steps = [step("image", &["image"], &[]), step("run", &["run"], &[("image", &["image"])])];
    assert_eq!(shown(&collect(&steps, "run", &cache)), "image() =() run(image|=)");
}
