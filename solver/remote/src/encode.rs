//! From steps to a cache configuration.

use std::collections::HashMap;

use rbuild_oci::{Descriptor, Digest};
use rbuild_solver::Origin;

use crate::collect::{Collected, Step};
use crate::config::{ChainResult, Input, Kind, Layer, LayerResult, Mark, Record, VERSION};

/// Returns a record for each step, without results.
pub(crate) fn records(collected: &Collected) -> Vec<Record> {
    collected.steps.iter().map(record).collect()
}

fn record(step: &Step) -> Record {
    let alternative = |(selector, index): &(Option<Digest>, usize)| Input {
        selector: selector.map(|selector| selector.to_string()).unwrap_or_default(),
        link: place(*index),
    };
    let inputs = step.inputs.iter().map(|input| input.iter().map(alternative).collect()).collect();
    let mark = mark(step);
    Record { digest: mark.digest().to_string(), mark: Some(mark), inputs, ..Record::default() }
}

fn mark(step: &Step) -> Mark {
    let (kind, key, output) = match step.origin {
        Origin::Root { operation, output } => (Kind::Root, operation, output),
        Origin::Content(content) => (Kind::Content, content, 0),
        Origin::Derived { operation, output } => (Kind::Derived, operation, output),
    };
    Mark { version: VERSION, kind, key: key.to_string(), output, name: step.name.clone() }
}

/// Lists are far shorter than what fits.
fn place(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

/// The layers of a configuration, each upon its parent once.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    pub(crate) list: Vec<Layer>,
    /// What the manifest says of each.
    pub(crate) descriptors: Vec<Descriptor>,
    known: HashMap<(i64, Digest), i64>,
}

impl Layers {
    /// Adds a result: layers, bottom first.
    pub(crate) fn add(&mut self, record: &mut Record, layers: &[Descriptor], created: String) {
        if layers.is_empty() {
            record.chains.push(ChainResult { layers: Vec::new(), created });
            return;
        }
        let mut parent = -1;
        for layer in layers {
            parent = match self.known.get(&(parent, layer.digest)) {
                Some(index) => *index,
                None => {
                    let index = place(self.list.len());
                    self.list.push(Layer { blob: layer.digest.to_string(), parent });
                    self.descriptors.push(layer.clone());
                    self.known.insert((parent, layer.digest), index);
                    index
                }
            };
        }
        record.results.push(LayerResult { layer: parent, created });
    }
}

/// Adds a result to a record of an image's own cache: `positions` are those of its layers in the image.
pub(crate) fn add_positions(record: &mut Record, positions: &[usize], created: String) {
    let is_bottom = positions.iter().copied().eq(0..positions.len());
    match positions.last() {
        Some(last) if is_bottom => record.results.push(LayerResult { layer: place(*last), created }),
        _ => {
            let layers = positions.iter().map(|position| place(*position)).collect();
            record.chains.push(ChainResult { layers, created });
        }
    }
}
