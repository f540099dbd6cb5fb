//! What the passes after planning share, and the walk over the stages.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_dockerfile::{Dockerfile, Lexer, Linter, Place};
use rbuild_graph::{Builder, Node, Output};
use rbuild_oci::Platform;

use crate::bases;
use crate::bridge::Bridge;
use crate::context::Context;
use crate::dispatch::Walk;
use crate::error::{Fallible, fail};
use crate::globals::Globals;
use crate::lowered::UsedImage;
use crate::request::Request;
use crate::stages::{Base, Plan};
use crate::state::State;

/// Everything that is known of the build while ops are made.
pub(crate) struct Frontend<'a> {
    pub(crate) dockerfile: &'a Dockerfile,
    pub(crate) request: &'a Request,
    pub(crate) bridge: &'a dyn Bridge,
    pub(crate) lexer: Lexer,
    pub(crate) linter: Linter,
    pub(crate) builder: Builder,
    pub(crate) globals: Globals,
    pub(crate) epoch: Option<i64>,
    pub(crate) target_platform: Platform,
    pub(crate) plan: Plan<'a>,
    /// Units whose base is known; those walked have all their ops.
    pub(crate) states: Vec<Option<State>>,
    /// Units that others may take from.
    pub(crate) walked: Vec<bool>,
    pub(crate) context: Context,
    /// Paths of the build context in use.
    pub(crate) context_paths: BTreeSet<String>,
    /// Paths of each unit in use.
    pub(crate) paths: Vec<BTreeSet<String>>,
    /// Local named contexts, of which the paths in use are known last.
    pub(crate) locals: Vec<LocalContext>,
    /// Inputs that were read, with their results.
    pub(crate) inputs: BTreeMap<String, Option<Output>>,
    pub(crate) used: Vec<UsedImage>,
    /// Bytes that may still be made.
    pub(crate) budget: usize,
}

/// A local named context whose op is still to be made.
pub(crate) struct LocalContext {
    pub(crate) node: Node,
    pub(crate) unit: usize,
    pub(crate) name: String,
    pub(crate) shown: String,
    pub(crate) exclude: Vec<String>,
}

/// Most bytes of ops and configuration that a Dockerfile may become: expansion and inheritance could
/// make a small file fill the memory.
pub(crate) const MAX_SIZE: usize = 64 << 20;

impl Frontend<'_> {
    /// Counts bytes that were made.
    pub(crate) fn spend(&mut self, bytes: usize, at: Place) -> Fallible<()> {
        let left = self.budget.checked_sub(bytes);
        self.budget =
            left.ok_or_else(|| fail(at, format!("the Dockerfile becomes larger than the limit of {MAX_SIZE} bytes")))?;
        Ok(())
    }

    /// Looks up the bases of all units in need, until triggers bring nothing new (G012).
    pub(crate) async fn resolve(&mut self) -> Fallible<Vec<bool>> {
        loop {
            let reachable = self.reachable();
            self.grow();
            bases::check_names(&self.plan)?;
            let wanted: Vec<usize> = (0..self.plan.units.len())
                .filter(|unit| reachable[*unit] && self.states[*unit].is_none() && self.is_root(*unit))
                .collect();
            let found = bases::look_up(self, &wanted).await;
            for (unit, found) in wanted.into_iter().zip(found) {
                self.settle(unit, found?)?;
            }
            if !self.trigger(&reachable)? {
                return Ok(reachable);
            }
        }
    }

    /// Walks the instructions of all stages in need, in the order of the file.
    pub(crate) fn walk(&mut self, reachable: &[bool]) -> Fallible<()> {
        for (index, needed) in reachable.iter().enumerate().take(self.plan.declared) {
            if !needed || self.walked[index] {
                continue;
            }
            let base = match self.plan.units[index].base {
                Base::Unit(base) => Some(base),
                Base::Scratch | Base::Image(_) => None,
            };
            let state = match (self.states[index].take(), base) {
                (Some(state), _) => state,
                (None, Some(base)) => {
                    let child = self.states[base].as_ref().expect("bases come before in the file").child();
                    self.spend(child.size(), self.plan.units[index].place)?;
                    child
                }
                (None, None) => State::empty(self.target_platform.clone(), index, self.globals.variables.none()),
            };
            self.walked[index] = true;
            let state = Walk::of(self, index, state)?;
            self.states[index] = Some(state);
        }
        Ok(())
    }

    fn reachable(&self) -> Vec<bool> {
        if self.request.all_stages { vec![true; self.plan.units.len()] } else { self.plan.reachable(self.plan.target) }
    }

    fn grow(&mut self) {
        let count = self.plan.units.len();
        self.states.resize_with(count, || None);
        self.walked.resize(count, false);
        self.paths.resize_with(count, BTreeSet::new);
    }

    /// Returns whether a unit stands upon something outside, not upon another unit.
    fn is_root(&self, unit: usize) -> bool {
        let unit = &self.plan.units[unit];
        unit.context.is_some() || !matches!(unit.base, Base::Unit(_))
    }

    /// Adds the triggers of base images and base stages. Returns whether they need something new.
    fn trigger(&mut self, reachable: &[bool]) -> Fallible<bool> {
        let mut new = false;
        for (index, needed) in reachable.iter().enumerate().take(self.plan.declared) {
            let unit = &self.plan.units[index];
            if !needed || unit.triggered {
                continue;
            }
            if unit.context.is_some() {
                // No instruction of a replaced stage is walked, nor a trigger of what replaces it.
                self.states[index].iter_mut().for_each(|state| state.image.config.on_build.clear());
                continue;
            }
            let triggers = match unit.base {
                Base::Unit(base) => self.plan.units[base].own_triggers(),
                _ => self.states[index]
                    .as_mut()
                    .map(|state| std::mem::take(&mut state.image.config.on_build))
                    .unwrap_or_default(),
            };
            self.plan.units[index].triggered = true;
            new |= self.plan.add_triggers(index, &triggers)?;
        }
        Ok(new)
    }
}
