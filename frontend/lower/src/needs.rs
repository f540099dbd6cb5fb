//! Which stages need which, and that none needs itself. Nothing here recurses: a Dockerfile may chain as many
//! stages as it has lines.

use rbuild_dockerfile::{Diagnostic, Instruction, Phase, Place};

use crate::error::Fallible;
use crate::stages::{Base, Command, Plan, Source};

impl<'a> Plan<'a> {
    /// Returns the units that `unit` takes files from, each with where it does so.
    fn uses(&self, unit: usize) -> Vec<(usize, Place)> {
        let taken = |command: &Command<'a>| {
            let place = command.statement.place();
            let units = command.sources.iter().filter_map(move |source| match source {
                Source::Unit(index) => Some((*index, place)),
                Source::Default | Source::Scratch => None,
            });
            units.collect::<Vec<_>>()
        };
        self.units[unit].commands.iter().flat_map(taken).collect()
    }

    /// Returns what a unit stands upon and takes from.
    pub(crate) fn needs(&self, unit: usize) -> Vec<usize> {
        let base = match self.units[unit].base {
            Base::Unit(base) if self.units[unit].context.is_none() => Some(base),
            _ => None,
        };
        base.into_iter().chain(self.uses(unit).into_iter().map(|(index, _)| index)).collect()
    }

    /// Returns which units `from` needs, itself included.
    pub(crate) fn reachable(&self, from: usize) -> Vec<bool> {
        let mut reached = vec![false; self.units.len()];
        let mut stack = vec![from];
        while let Some(unit) = stack.pop() {
            if !std::mem::replace(&mut reached[unit], true) {
                stack.extend(self.needs(unit));
            }
        }
        reached
    }

    /// BuildKit counts a nameless source for every mount, which shows in names of steps.
    pub(crate) fn has_mounts(&self) -> bool {
        let mounts = |command: &Command<'_>| matches!(&command.statement.instruction, Instruction::Run(run) if !run.mounts.is_empty());
        self.units.iter().any(|unit| unit.commands.iter().any(mounts))
    }

    /// Refuses stages that take from themselves, by whatever way round (G013).
    pub(crate) fn check_circles(&self) -> Fallible<()> {
        let edges: Vec<Vec<(usize, Place)>> = (0..self.units.len()).map(|unit| self.uses(unit)).collect();
        let mut seen = vec![false; edges.len()];
        let mut on_path = vec![false; edges.len()];
        for start in 0..edges.len() {
            let mut path = if std::mem::replace(&mut seen[start], true) { Vec::new() } else { vec![(start, 0)] };
            while let Some((unit, next)) = path.last_mut() {
                on_path[*unit] = true;
                let Some((used, _)) = edges[*unit].get(*next) else {
                    on_path[*unit] = false;
                    path.pop();
                    continue;
                };
                *next += 1;
                if on_path[*used] {
                    let begin = path.iter().position(|(unit, _)| unit == used).unwrap_or_default();
                    let places = path[begin..].iter().map(|(unit, next)| edges[*unit][*next - 1].1);
                    return Err(self.circle(*used, &places.collect::<Vec<_>>()));
                }
                if !std::mem::replace(&mut seen[*used], true) {
                    path.push((*used, 0));
                }
            }
        }
        Ok(())
    }

    fn circle(&self, unit: usize, places: &[Place]) -> Box<Diagnostic> {
        let message = format!("circular dependency detected on stage: {}", self.units[unit].label);
        let error = Diagnostic::error(Phase::Build, places[0], message);
        Box::new(error.with_related(places[1..].iter().map(|place| place.lines).collect()))
    }
}
