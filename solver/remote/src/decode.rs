//! From a cache configuration to keys and links. Whoever wrote it is not trusted: sizes are bounded, circles
//! refused, and names of outputs are computed anew from what they are made of, so that no configuration
//! can speak about steps other than those it describes.

use std::collections::{BTreeSet, HashMap};
use std::time::SystemTime;

use rbuild_oci::{Descriptor, DiffId, Digest};
use rbuild_solver::{Derivation, Key, Known, Lifetime, Link, Origin, Via};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::{CREATED, Config, Kind, Mark, Record, VERSION};
use crate::document;

/// The most records that are read.
const MOST_RECORDS: usize = 100_000;
/// The most layers that are read.
const MOST_LAYERS: usize = 50_000;
/// The most layers that a result may have.
const MOST_LAYERS_OF_RESULT: usize = 1000;
/// The longest name of a step that is kept, in bytes.
const MOST_NAME: usize = 1024;

/// A layer of an imported cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImportedLayer {
    pub(crate) descriptor: Descriptor,
    pub(crate) diff_id: DiffId,
    /// When it was made.
    pub(crate) created: Option<SystemTime>,
    /// What made it, if that is told of each layer.
    pub(crate) description: Option<String>,
}

/// What a configuration says of results.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Candidate {
    Top(usize),
    Chain(Vec<usize>),
}

/// Keys, links and results of an imported cache.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) origins: HashMap<Key, Origin>,
    pub(crate) ways: HashMap<(Key, Via), Vec<Key>>,
    pub(crate) into: HashMap<Key, Vec<Link>>,
    results: HashMap<Key, Vec<Candidate>>,
    names: HashMap<Key, String>,
    layers: Vec<Option<(Option<usize>, ImportedLayer)>>,
    /// Records of other programs or versions.
    pub(crate) foreign: usize,
}

impl Graph {
    /// Reads a configuration; `descriptors` are the layers that the manifest names.
    ///
    /// # Errors
    /// If it is too large, refers to what it does not have, or goes in circles.
    pub(crate) fn read(config: &Config, descriptors: &HashMap<Digest, Descriptor>) -> Result<Self, String> {
        if config.layers.len() > MOST_LAYERS {
            return Err(format!("it has more than {MOST_LAYERS} layers"));
        }
        let mut graph = Self::default();
        for (index, layer) in config.layers.iter().enumerate() {
            let parent = match layer.parent {
                -1 => None,
                parent => {
                    let parent = position(parent, config.layers.len());
                    let broken = || format!("layer {index} has no parent {}", layer.parent);
                    Some(parent.ok_or_else(broken)?)
                }
            };
            let imported = imported(&layer.blob, descriptors).map(|layer| (parent, layer));
            graph.layers.push(imported);
        }
        graph.read_records(&config.records)?;
        Ok(graph)
    }

    /// Reads the records of an image's own cache, whose layers are these.
    ///
    /// # Errors
    /// As [`Graph::read`].
    pub(crate) fn of_image(records: &[Record], layers: Vec<Option<ImportedLayer>>) -> Result<Self, String> {
        let mut graph = Self::default();
        let upon = |(index, layer): (usize, Option<ImportedLayer>)| layer.map(|layer| (index.checked_sub(1), layer));
        graph.layers = layers.into_iter().enumerate().map(upon).collect();
        graph.read_records(records)?;
        Ok(graph)
    }

    /// Whether something can be found here at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    pub(crate) fn has_result(&self, key: &Key) -> bool {
        self.results.contains_key(key)
    }

    pub(crate) fn name(&self, key: &Key) -> &str {
        self.names.get(key).map_or("", String::as_str)
    }

    /// Returns the results that a key is said to have: each a list of layers, bottom first.
    pub(crate) fn results(&self, key: &Key) -> Vec<Vec<ImportedLayer>> {
        self.results.get(key).into_iter().flatten().filter_map(|candidate| self.layers_of(candidate)).collect()
    }

    fn layers_of(&self, candidate: &Candidate) -> Option<Vec<ImportedLayer>> {
        let mut layers = Vec::new();
        match candidate {
            Candidate::Chain(indexes) => {
                for index in indexes {
                    layers.push(self.layers.get(*index)?.as_ref()?.1.clone());
                }
            }
            Candidate::Top(top) => {
                let mut next = Some(*top);
                while let Some(index) = next {
                    // A circle is as long as no result is.
                    if layers.len() == MOST_LAYERS_OF_RESULT {
                        return None;
                    }
                    let (parent, layer) = self.layers.get(index)?.as_ref()?;
                    layers.push(layer.clone());
                    next = *parent;
                }
                layers.reverse();
            }
        }
        Some(layers)
    }

    fn read_records(&mut self, records: &[Record]) -> Result<(), String> {
        if records.len() > MOST_RECORDS {
            return Err(format!("it has more than {MOST_RECORDS} records"));
        }
        let mut keys: Vec<Option<Key>> = vec![None; records.len()];
        for index in order(records)? {
            let record = &records[index];
            match record.mark.as_ref().filter(|mark| mark.version == VERSION) {
                Some(mark) => {
                    keys[index] = self.read_record(record, mark, &keys).map_err(|e| format!("record {index}: {e}"))?
                }
                None => self.foreign += 1,
            }
        }
        Ok(())
    }

    /// Returns the key of a record; none if some input of it is another program's.
    fn read_record(&mut self, record: &Record, mark: &Mark, keys: &[Option<Key>]) -> Result<Option<Key>, String> {
        let digest: Digest = mark.key.parse().map_err(|_| format!("`{}` is no digest", shown(&mark.key)))?;
        let (key, origin) = match (mark.kind, record.inputs.is_empty()) {
            (Kind::Root, true) => {
                (Key::root(&digest, mark.output), Origin::Root { operation: digest, output: mark.output })
            }
            (Kind::Content, true) => (Key::content(&digest), Origin::Content(digest)),
            (Kind::Derived, false) => match self.read_inputs(record, mark, digest, keys)? {
                Some(key) => (key, Origin::Derived { operation: digest, output: mark.output }),
                None => return Ok(None),
            },
            _ => return Err("its inputs do not fit its kind".to_owned()),
        };
        self.origins.insert(key, origin);
        self.read_results(key, record)?;
        self.names.entry(key).or_insert_with(|| name_of(&mark.name));
        Ok(Some(key))
    }

    fn read_inputs(
        &mut self,
        record: &Record,
        mark: &Mark,
        operation: Digest,
        keys: &[Option<Key>],
    ) -> Result<Option<Key>, String> {
        let mut ways = Vec::new();
        let mut picks = Vec::new();
        for (number, input) in (0..).zip(&record.inputs) {
            let mut alternatives = BTreeSet::new();
            for alternative in input {
                let source = position(alternative.link, keys.len()).and_then(|index| keys[index]);
                let Some(source) = source else { continue };
                let selector = match alternative.selector.as_str() {
                    "" => None,
                    text => Some(text.parse().map_err(|_| format!("selector `{}` is no digest", shown(text)))?),
                };
                let is_content = matches!(self.origins.get(&source), Some(Origin::Content(_)));
                alternatives.insert((!is_content, source, selector));
            }
            // As the solver names what it makes: contents first, then the least key.
            let Some((_, source, selector)) = alternatives.first() else { return Ok(None) };
            picks.push((*selector, Known::stored(*source)));
            let via = |selector| Via { operation, input: number, selector, output: mark.output };
            ways.extend(alternatives.into_iter().map(|(_, source, selector)| (source, via(selector))));
        }
        let target = Derivation::new(&operation, Lifetime::Stored, &picks).output(mark.output).key;
        for (source, via) in ways {
            let targets = self.ways.entry((source, via)).or_default();
            if !targets.contains(&target) {
                targets.push(target);
                self.into.entry(target).or_default().push(Link { source, via, target });
            }
        }
        Ok(Some(target))
    }

    fn read_results(&mut self, key: Key, record: &Record) -> Result<(), String> {
        let count = self.layers.len();
        let place = |index: i64| position(index, count).ok_or_else(|| format!("there is no layer {index}"));
        let mut candidates = Vec::new();
        for result in &record.results {
            candidates.push(Candidate::Top(place(result.layer)?));
        }
        for chain in &record.chains {
            if chain.layers.len() > MOST_LAYERS_OF_RESULT {
                return Err(format!("a result has more than {MOST_LAYERS_OF_RESULT} layers"));
            }
            candidates
                .push(Candidate::Chain(chain.layers.iter().map(|index| place(*index)).collect::<Result<_, _>>()?));
        }
        if !candidates.is_empty() {
            self.results.entry(key).or_default().extend(candidates);
        }
        Ok(())
    }
}

/// Returns the records in an order in which what they refer to comes first.
fn order(records: &[Record]) -> Result<Vec<usize>, String> {
    let mut waiting: Vec<usize> = vec![0; records.len()];
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); records.len()];
    for (index, record) in records.iter().enumerate() {
        for input in record.inputs.iter().flatten() {
            let broken = || format!("record {index} refers to record {}, which is not there", input.link);
            users[position(input.link, records.len()).ok_or_else(broken)?].push(index);
            waiting[index] += 1;
        }
    }
    let mut order: Vec<usize> = (0..records.len()).filter(|index| waiting[*index] == 0).collect();
    let mut next = 0;
    while let Some(index) = order.get(next).copied() {
        next += 1;
        for user in &users[index] {
            waiting[*user] -= 1;
            if waiting[*user] == 0 {
                order.push(*user);
            }
        }
    }
    if order.len() == records.len() { Ok(order) } else { Err("its records go in circles".to_owned()) }
}

fn position(index: i64, count: usize) -> Option<usize> {
    usize::try_from(index).ok().filter(|index| *index < count)
}

/// Returns what the manifest says of a layer, if that is enough to use it.
fn imported(blob: &str, descriptors: &HashMap<Digest, Descriptor>) -> Option<ImportedLayer> {
    let descriptor = descriptors.get(&blob.parse().ok()?)?;
    let created = descriptor.annotations.get(CREATED).and_then(|text| time_of(text));
    of_descriptor(descriptor, document::diff_id(descriptor)?, created)
}

/// Returns what somebody calls a step, as far as it is fit to be kept.
pub(crate) fn name_of(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MOST_NAME).collect()
}

/// Reads a time, if it is one.
pub(crate) fn time_of(text: &str) -> Option<SystemTime> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    (time >= OffsetDateTime::UNIX_EPOCH).then(|| time.into())
}

/// Returns a layer that has a form which can be read. Nothing but what names it is kept.
pub(crate) fn of_descriptor(
    descriptor: &Descriptor,
    diff_id: DiffId,
    created: Option<SystemTime>,
) -> Option<ImportedLayer> {
    let plain = Descriptor::new(descriptor.media_type.clone(), descriptor.digest, descriptor.size);
    document::is_layer(&plain.media_type).then_some(ImportedLayer {
        descriptor: plain,
        diff_id,
        created,
        description: None,
    })
}

/// Returns text of another's as far as it is fit to be shown.
fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
