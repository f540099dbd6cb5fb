//! What is known of one edge while it is asked about: the keys of its inputs and where they lead.

use std::collections::BTreeSet;
use std::sync::Arc;

use rbuild_oci::Digest;

use crate::cache::{CacheError, CacheStorage};
use crate::explain::Alternative;
use crate::key::{Derivation, Key, Known, Link, Origin, Via};
use crate::operation::CacheMap;
use crate::probe::{Content, EdgeView, Found, Goal, InputView, Level, Probe, Question};

/// Everything learnt about an edge so far; it only grows.
#[derive(Debug, Clone)]
pub(crate) struct Inquiry {
    pub(crate) map: Arc<CacheMap>,
    pub(crate) output: u32,
    pub(crate) ignore_cache: bool,
    pub(crate) inputs: Vec<Input>,
    /// The keys of the edge that were found.
    pub(crate) found: Vec<Known>,
    /// A record of one of them, if a value is wanted.
    pub(crate) record: Option<(Key, Vec<u8>)>,
    pub(crate) probes: Vec<Probe>,
}

/// What is known of an input.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    known: Level,
    asked: Level,
    content: Content,
    pub(crate) alternatives: Vec<Alternative>,
}

/// An input's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) index: usize,
    pub(crate) question: Question,
    /// The keys it is known by.
    pub(crate) keys: Vec<Known>,
    /// The content, if that was the question and there is one.
    pub(crate) content: Option<Digest>,
}

impl Inquiry {
    pub(crate) fn new(map: Arc<CacheMap>, output: u32, ignore_cache: bool) -> Self {
        let content = |available| if available { Content::Unknown } else { Content::Absent };
        let input = |content| Input { known: Level::Nothing, asked: Level::Nothing, content, alternatives: Vec::new() };
        let inputs: Vec<_> = map.inputs.iter().map(|map| input(content(map.content))).collect();
        let root = Known { lifetime: map.lifetime, key: Key::root(&map.key, output) };
        let found = if inputs.is_empty() { vec![root] } else { Vec::new() };
        Self { map, output, ignore_cache, inputs, found, record: None, probes: Vec::new() }
    }

    pub(crate) fn view(&self, goal: Goal) -> EdgeView {
        let view = |input: &Input| InputView {
            known: input.known,
            asked: input.asked,
            matched: input.alternatives.iter().any(|alternative| !alternative.targets.is_empty()),
            content: input.content,
        };
        let found = match (&self.record, self.found.is_empty()) {
            (Some(_), _) => Found::Record,
            (None, false) => Found::Key,
            (None, true) => Found::Nothing,
        };
        EdgeView { goal, ignore_cache: self.ignore_cache, inputs: self.inputs.iter().map(view).collect(), found }
    }

    /// Notes that an input is being asked.
    pub(crate) fn ask(&mut self, index: usize, question: Question) {
        let input = &mut self.inputs[index];
        input.asked = input.asked.max(question.level());
        if question == Question::Content {
            input.content = Content::Asked;
        }
    }

    /// Notes that questions not answered yet never will be.
    pub(crate) fn take_back(&mut self) {
        for input in &mut self.inputs {
            input.asked = input.known;
            if input.content == Content::Asked {
                input.content = Content::Unknown;
            }
        }
    }

    /// Notes an input's answer.
    pub(crate) fn answer(&mut self, answer: &Answer) {
        let Answer { index, question, keys, content } = answer;
        let input = &mut self.inputs[*index];
        input.known = input.known.max(question.level());
        if *question == Question::Content {
            input.content = if content.is_some() { Content::Known } else { Content::Absent };
        }
        for known in keys {
            self.learn(*index, *known, None);
        }
        if let Some(content) = content {
            self.learn(*index, Known::stored(Key::content(content)), Some(*content));
        }
    }

    fn learn(&mut self, index: usize, known: Known, content: Option<Digest>) {
        let alternatives = &mut self.inputs[index].alternatives;
        if !alternatives.iter().any(|other| other.known == known && other.content == content) {
            alternatives.push(Alternative { known, content, targets: Vec::new() });
        }
    }

    /// Asks the cache where the alternatives lead and, for a value, whether there is a record.
    ///
    /// All are asked again each time: others write to the cache meanwhile.
    pub(crate) fn look_up(&mut self, cache: &dyn CacheStorage, goal: Goal) -> Result<(), CacheError> {
        if self.ignore_cache {
            return Ok(());
        }
        if !self.inputs.is_empty() && self.map.lifetime == crate::Lifetime::Stored {
            self.follow(cache)?;
            for key in self.common_targets() {
                if !self.found.iter().any(|known| known.key == key) {
                    self.found.push(Known::stored(key));
                }
            }
        }
        if goal == Goal::Value && self.record.is_none() {
            self.record = self.find_record(cache)?;
        }
        Ok(())
    }

    fn follow(&mut self, cache: &dyn CacheStorage) -> Result<(), CacheError> {
        let ways = self.ways(self.output);
        let targets = cache.follow(&ways)?;
        let stored = self.inputs.iter_mut().flat_map(|input| &mut input.alternatives);
        for (alternative, targets) in stored.filter(|alternative| alternative.known.is_stored()).zip(targets) {
            alternative.targets = targets;
        }
        Ok(())
    }

    /// The way to `output` from each alternative that may be stored, in order.
    fn ways(&self, output: u32) -> Vec<(Key, Via)> {
        let mut ways = Vec::new();
        for (index, (input, map)) in self.inputs.iter().zip(&self.map.inputs).enumerate() {
            for alternative in input.alternatives.iter().filter(|alternative| alternative.known.is_stored()) {
                let selector = if alternative.content.is_some() { None } else { map.selector };
                let input = u32::try_from(index).unwrap_or(u32::MAX);
                ways.push((alternative.known.key, Via { operation: self.map.key, input, selector, output }));
            }
        }
        ways
    }

    /// The keys that every input leads to.
    fn common_targets(&self) -> BTreeSet<Key> {
        let targets = |input: &Input| -> BTreeSet<Key> {
            input.alternatives.iter().flat_map(|alternative| &alternative.targets).copied().collect()
        };
        let mut all = self.inputs.iter().map(targets);
        let first = all.next().unwrap_or_default();
        all.fold(first, |common, targets| &common & &targets)
    }

    fn find_record(&self, cache: &dyn CacheStorage) -> Result<Option<(Key, Vec<u8>)>, CacheError> {
        for known in self.found.iter().filter(|known| known.is_stored()) {
            if let Some(result) = cache.record(&known.key)? {
                return Ok(Some((known.key, result)));
            }
        }
        Ok(None)
    }

    /// Returns the application of the operation to the inputs as they are known now.
    pub(crate) fn derivation(&self) -> Derivation {
        let picks: Vec<_> = self
            .inputs
            .iter()
            .zip(&self.map.inputs)
            .filter_map(|(input, map)| {
                // Content first: it is the same however the input was come by. Then the least key,
                // stored ones before others, so that every process picks the same.
                let rank = |other: &&Alternative| (other.known.lifetime, other.content.is_none(), other.known.key);
                let pick = input.alternatives.iter().min_by_key(rank)?;
                let selector = if pick.content.is_some() { None } else { map.selector };
                Some((selector, pick.known))
            })
            .collect();
        Derivation::new(&self.map.key, self.map.lifetime, &picks)
    }

    /// Returns what every output of the operation is called: the names it has, or new ones.
    pub(crate) fn name_outputs(
        &self,
        cache: &dyn CacheStorage,
        derivation: Derivation,
        count: u32,
    ) -> Result<Vec<Known>, CacheError> {
        let name = |output| {
            if self.inputs.is_empty() {
                return Ok(Known { lifetime: self.map.lifetime, key: Key::root(&self.map.key, output) });
            }
            let mut inquiry = self.clone();
            if output != self.output {
                inquiry.output = output;
                inquiry.found.clear();
                inquiry.look_up(cache, Goal::SlowKeys)?;
            }
            Ok(inquiry.found.iter().min().copied().unwrap_or_else(|| derivation.output(output)))
        };
        (0..count).map(name).collect()
    }

    /// Returns what every output of the operation, done anew, is called: the name it was given by others
    /// that did the same anew at the same time, as `ours` tells, or a new one.
    pub(crate) fn rename_outputs(
        &self,
        cache: &dyn CacheStorage,
        derivation: Derivation,
        count: u32,
        ours: impl Fn(&Key) -> bool,
    ) -> Result<Vec<Known>, CacheError> {
        let name = |output| {
            let mut inquiry = Self { output, ignore_cache: false, found: Vec::new(), ..self.clone() };
            inquiry.look_up(cache, Goal::SlowKeys)?;
            let name = inquiry.found.iter().copied().filter(|known| ours(&known.key)).min();
            Ok(name.unwrap_or_else(|| derivation.output(output)))
        };
        (0..count).map(name).collect()
    }

    /// Returns the origins of the keys that links are written between.
    pub(crate) fn origins(&self, outputs: &[Known]) -> Vec<(Key, Origin)> {
        let operation = self.map.key;
        let origin = |output| match self.inputs.is_empty() {
            true => Origin::Root { operation, output },
            false => Origin::Derived { operation, output },
        };
        let made = (0..).zip(outputs).map(|(output, known)| (known.key, origin(output)));
        made.chain(self.content_origins()).collect()
    }

    /// Returns the origins of the content keys known.
    pub(crate) fn content_origins(&self) -> impl Iterator<Item = (Key, Origin)> {
        let alternatives = self.inputs.iter().flat_map(|input| &input.alternatives);
        alternatives.filter_map(|other| Some((other.known.key, Origin::Content(other.content?))))
    }

    /// Returns the links from all alternatives to `target`, except those there already.
    pub(crate) fn links_to(&self, target: Key, output: u32) -> Vec<Link> {
        let stored = self.inputs.iter().flat_map(|input| &input.alternatives).filter(|other| other.known.is_stored());
        let there = stored.map(|alternative| output == self.output && alternative.targets.contains(&target));
        let missing = self.ways(output).into_iter().zip(there).filter(|(_, there)| !there);
        missing.map(|((source, via), _)| Link { source, via, target }).collect()
    }
}
