//! What a build knows of its steps, gathered for an export: each output with the keys of its inputs.
//!
//! The gathered steps are in an order in which inputs come first, and a step refers only to earlier ones: what the
//! cache knows may go in circles (a step that leaves its input as it is), what is exported does not.

use std::collections::{BTreeSet, HashMap};

use rbuild_oci::Digest;
use rbuild_solver::{CacheError, CacheStorage, Edge, Explanation, Key, Origin};
use rbuild_store::LayerId;

/// A result whose cache is exported.
#[derive(Debug, Clone)]
pub struct Target {
    /// The output, if anything was solved; an empty result has none.
    pub edge: Option<Edge>,
    /// Its layers, bottom first.
    pub layers: Vec<LayerId>,
}

/// Something with a key.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) origin: Origin,
    /// For each input what it may be: a part (none is all of it) of an earlier step.
    pub(crate) inputs: Vec<BTreeSet<(Option<Digest>, usize)>>,
    /// The keys it is known by here.
    pub(crate) keys: Vec<Key>,
    /// What it is called.
    pub(crate) name: String,
}

/// The steps of a build.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) steps: Vec<Step>,
    by_key: HashMap<Key, usize>,
    contents: HashMap<Digest, usize>,
    by_edge: HashMap<Edge, usize>,
}

impl Collected {
    /// Gathers what the targets of a job stand on. `explanations` have inputs first.
    pub(crate) fn add(
        &mut self,
        explanations: &[Explanation],
        targets: &[Edge],
        cache: &dyn CacheStorage,
    ) -> Result<(), CacheError> {
        let wanted = ancestors(explanations, targets);
        for explanation in explanations.iter().enumerate().filter(|(index, _)| wanted.contains(index)) {
            self.add_one(explanation.1, cache)?;
        }
        Ok(())
    }

    /// Returns the step of an output.
    pub(crate) fn step_of(&self, edge: &Edge) -> Option<usize> {
        self.by_edge.get(edge).copied()
    }

    fn add_one(&mut self, explanation: &Explanation, cache: &dyn CacheStorage) -> Result<(), CacheError> {
        let keys: Vec<Key> = explanation.keys.iter().filter(|known| known.is_stored()).map(|known| known.key).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let known = keys.iter().find_map(|key| self.by_key.get(key)).copied();
        let mut inputs = self.inputs(explanation, known);
        self.add_contents(explanation, &keys, &mut inputs, cache)?;
        let edge = Edge { vertex: explanation.vertex, output: explanation.output };
        if inputs.iter().any(BTreeSet::is_empty) {
            // Some input is known to this build only, or made of this very step.
            self.by_edge.extend(known.map(|index| (edge, index)));
            return Ok(());
        }
        let index = known.unwrap_or(self.steps.len());
        match self.steps.get_mut(index) {
            Some(step) if step.inputs.len() == inputs.len() => {
                step.inputs.iter_mut().zip(inputs).for_each(|(old, new)| old.extend(new));
                step.keys.extend(&keys);
            }
            Some(_) => return Ok(()),
            None => {
                let (operation, output) = (explanation.operation, explanation.output);
                let origin = match inputs.is_empty() {
                    true => Origin::Root { operation, output },
                    false => Origin::Derived { operation, output },
                };
                self.steps.push(Step { origin, inputs, keys: keys.clone(), name: explanation.name.clone() });
            }
        }
        for key in keys {
            self.by_key.entry(key).or_insert(index);
        }
        self.by_edge.insert(edge, index);
        Ok(())
    }

    /// Returns what the inputs are known by; `before` is the step itself, if it is there already.
    fn inputs(&mut self, explanation: &Explanation, before: Option<usize>) -> Vec<BTreeSet<(Option<Digest>, usize)>> {
        let mut inputs = Vec::with_capacity(explanation.inputs.len());
        for input in &explanation.inputs {
            let mut alternatives = BTreeSet::new();
            for alternative in input.alternatives.iter().filter(|alternative| alternative.known.is_stored()) {
                let found = match alternative.content {
                    Some(content) => self.content(content, before).map(|index| (None, index)),
                    None => self.by_key.get(&alternative.known.key).map(|index| (input.selector, *index)),
                };
                alternatives.extend(found.filter(|(_, index)| before.is_none_or(|before| *index < before)));
            }
            inputs.push(alternatives);
        }
        inputs
    }

    /// Adds the contents that are known to lead to the same: a build that finds all by definitions looks at none.
    fn add_contents(
        &mut self,
        explanation: &Explanation,
        keys: &[Key],
        inputs: &mut [BTreeSet<(Option<Digest>, usize)>],
        cache: &dyn CacheStorage,
    ) -> Result<(), CacheError> {
        let before = keys.iter().find_map(|key| self.by_key.get(key)).copied();
        for key in keys {
            for link in cache.links_to(key)? {
                let same = link.via.operation == explanation.operation && link.via.output == explanation.output;
                let input = usize::try_from(link.via.input).ok().and_then(|input| inputs.get_mut(input));
                let (true, Some(input)) = (same && link.via.selector.is_none(), input) else { continue };
                if let Some(Origin::Content(content)) = cache.origin(&link.source)?
                    && let Some(index) = self.content(content, before)
                {
                    input.insert((None, index));
                }
            }
        }
        Ok(())
    }

    /// Returns the step of a content; none if it would come after `before`.
    fn content(&mut self, content: Digest, before: Option<usize>) -> Option<usize> {
        if let Some(index) = self.contents.get(&content) {
            return Some(*index).filter(|index| before.is_none_or(|before| *index < before));
        }
        if before.is_some() {
            return None;
        }
        let index = self.steps.len();
        let (inputs, keys, name) = (Vec::new(), vec![Key::content(&content)], String::new());
        self.steps.push(Step { origin: Origin::Content(content), inputs, keys, name });
        self.contents.insert(content, index);
        Some(index)
    }
}

/// Returns the places of the explanations that the targets stand on.
fn ancestors(explanations: &[Explanation], targets: &[Edge]) -> BTreeSet<usize> {
    let mut by_edge: HashMap<Edge, Vec<usize>> = HashMap::new();
    for (index, explanation) in explanations.iter().enumerate() {
        let edge = Edge { vertex: explanation.vertex, output: explanation.output };
        by_edge.entry(edge).or_default().push(index);
    }
    let mut found = BTreeSet::new();
    let mut left: Vec<Edge> = targets.to_vec();
    while let Some(edge) = left.pop() {
        for index in by_edge.remove(&edge).unwrap_or_default() {
            let inputs = &explanations[index].inputs;
            left.extend(inputs.iter().map(|input| Edge { vertex: input.vertex, output: input.output }));
            found.insert(index);
        }
    }
    found
}

#[cfg(test)]
#[path = "collect_tests.rs"]
mod tests;
