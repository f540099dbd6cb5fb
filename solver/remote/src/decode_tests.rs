//! What a configuration may and may not say.

use proptest::prelude::*;
use rbuild_oci::media_type;

use super::*;
use crate::collect::Collected;
use crate::config::{ChainResult, Input, Layer, LayerResult};
use crate::encode;

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn mark(kind: Kind, key: &str) -> Option<Mark> {
    Some(Mark { version: VERSION, kind, key: digest(key).to_string(), output: 0, name: key.to_owned() })
}

fn record(kind: Kind, key: &str, inputs: &[&[i64]]) -> Record {
    let input = |link: &i64| Input { selector: String::new(), link: *link };
    let inputs = inputs.iter().map(|links| links.iter().map(input).collect()).collect();
    Record { mark: mark(kind, key), inputs, ..Record::default() }
}

fn layer(name: &str) -> Descriptor {
    let mut layer = Descriptor::new(media_type::OCI_LAYER_GZIP, digest(name), 1);
    layer.annotations.insert(crate::config::UNCOMPRESSED.to_owned(), digest(&format!("{name} plain")).to_string());
    layer
}

fn with_layers(names: &[(&str, i64)]) -> (Vec<Layer>, HashMap<Digest, Descriptor>) {
    let layers = names.iter().map(|(name, parent)| Layer { blob: digest(name).to_string(), parent: *parent }).collect();
    (layers, names.iter().map(|(name, _)| (digest(name), layer(name))).collect())
}

/// Reads records, each with its own result if its name is that of a layer.
fn read(records: Vec<Record>) -> Result<Graph, String> {
    let (layers, descriptors) = with_layers(&[("base", -1), ("top", 0)]);
    Graph::read(&Config { layers, records }, &descriptors)
}

#[test]
fn keys_are_those_of_the_solver() {
    let mut run = record(Kind::Derived, "run", &[&[0, 1]]);
    run.results.push(LayerResult { layer: 1, created: String::new() });
    let graph = read(vec![record(Kind::Root, "image", &[]), record(Kind::Content, "files", &[]), run]).unwrap();
    let (image, files) = (Key::root(&digest("image"), 0), Key::content(&digest("files")));
    let target = Derivation::new(&digest("run"), Lifetime::Stored, &[(None, Known::stored(files))]).output(0).key;
    let via = Via { operation: digest("run"), input: 0, selector: None, output: 0 };
    assert_eq!(graph.ways[&(image, via)], [target]);
    assert_eq!(graph.ways[&(files, via)], [target]);
    let layers: Vec<Digest> = graph.results(&target)[0].iter().map(|layer| layer.descriptor.digest).collect();
    assert_eq!(layers, [digest("base"), digest("top")], "a layer with its parents, bottom first");
    assert_eq!(graph.name(&target), "run");
}

#[test]
fn what_is_not_ours_or_unusable_is_left_out() {
    let foreign = Record { digest: digest("x").to_string(), ..Record::default() };
    let newer = Record { mark: mark(Kind::Root, "a").map(|mark| Mark { version: 2, ..mark }), ..Record::default() };
    let above = record(Kind::Derived, "run", &[&[0]]);
    let graph = read(vec![foreign, newer, above]).unwrap();
    assert!(graph.is_empty());
    assert_eq!(graph.foreign, 2);
    // A layer of an unknown form, one that the manifest does not name, one in a circle.
    let (mut layers, mut descriptors) = with_layers(&[("a", -1), ("b", -1), ("c", 2)]);
    descriptors.get_mut(&digest("a")).unwrap().media_type = "text/plain".to_owned();
    layers[1].blob = "nonsense".to_owned();
    let mut image = record(Kind::Root, "image", &[]);
    image.results = (0..3).map(|layer| LayerResult { layer, created: String::new() }).collect();
    image.chains.push(ChainResult { layers: Vec::new(), created: String::new() });
    let graph = Graph::read(&Config { layers, records: vec![image] }, &descriptors).unwrap();
    assert_eq!(graph.results(&Key::root(&digest("image"), 0)), [Vec::new()], "only the empty result is left");
}

#[test]
fn hostile_configurations_are_refused() {
    let result = |layer| Record {
        results: vec![LayerResult { layer, created: String::new() }],
        ..record(Kind::Root, "image", &[])
    };
    let keyed = |key: &str| Record {
        mark: mark(Kind::Root, "a").map(|mark| Mark { key: key.to_owned(), ..mark }),
        ..Record::default()
    };
    let selected = |selector: &str| {
        let mut run = record(Kind::Derived, "run", &[&[0]]);
        run.inputs[0][0].selector = selector.to_owned();
        vec![record(Kind::Root, "image", &[]), run]
    };
    for (records, expected) in [
        (vec![record(Kind::Derived, "a", &[&[1]]), record(Kind::Derived, "b", &[&[0]])], "go in circles"),
        (vec![record(Kind::Derived, "a", &[&[0]])], "go in circles"),
        (vec![record(Kind::Derived, "a", &[&[5]])], "refers to record 5"),
        (vec![record(Kind::Derived, "a", &[&[-1]])], "refers to record -1"),
        (vec![record(Kind::Derived, "a", &[])], "do not fit its kind"),
        (vec![record(Kind::Root, "a", &[]), record(Kind::Root, "b", &[&[0]])], "do not fit its kind"),
        (vec![result(2)], "there is no layer 2"),
        (vec![result(-1)], "there is no layer -1"),
        (vec![keyed("\u{1b}[31m")], r"`\u{1b}[31m` is no digest"),
        (selected("/path"), "selector `/path` is no digest"),
    ] {
        let error = read(records).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let too_many = vec![Record::default(); MOST_RECORDS + 1];
    assert!(read(too_many).unwrap_err().contains("more than"));
}

#[test]
fn what_was_written_is_read_again() {
    let collected = Collected::default();
    assert!(encode::records(&collected).is_empty());
    let mut layers = encode::Layers::default();
    let (mut one, mut two) = (Record::default(), Record::default());
    layers.add(&mut one, &[layer("base"), layer("one")], String::new());
    layers.add(&mut two, &[layer("base"), layer("two")], String::new());
    assert_eq!(layers.list.len(), 3, "what they share is there once");
    assert_eq!((one.results[0].layer, two.results[0].layer), (1, 2));
    let mut apart = Record::default();
    encode::add_positions(&mut apart, &[0, 2], String::new());
    assert_eq!(apart.chains[0].layers, [0, 2], "layers of an image that do not lie upon each other");
}

fn any_record() -> impl Strategy<Value = Record> {
    let kind = prop_oneof![Just(Kind::Root), Just(Kind::Content), Just(Kind::Derived)];
    let input = (-2..8_i64, any::<bool>()).prop_map(|(link, whole)| Input {
        selector: if whole { String::new() } else { digest("part").to_string() },
        link,
    });
    let inputs = prop::collection::vec(prop::collection::vec(input, 0..3), 0..3);
    let result = (-1..4_i64).prop_map(|layer| LayerResult { layer, created: String::new() });
    (kind, 0..4_u8, inputs, prop::collection::vec(result, 0..2)).prop_map(|(kind, key, inputs, results)| Record {
        mark: mark(kind, &key.to_string()),
        inputs,
        results,
        ..Record::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_configuration_does_harm(records in prop::collection::vec(any_record(), 0..8), parents in prop::collection::vec(-2..4_i64, 3)) {
        let names: Vec<_> = ["a", "b", "c"].into_iter().zip(parents).collect();
        let (layers, descriptors) = with_layers(&names);
        if let Ok(graph) = Graph::read(&Config { layers, records }, &descriptors) {
            for key in graph.origins.keys() {
                for result in graph.results(key) {
                    prop_assert!(result.len() <= MOST_LAYERS_OF_RESULT);
                }
            }
        }
    }
}
