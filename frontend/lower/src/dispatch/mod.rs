//! The fourth pass: the instructions of a stage, one after another, as ops and image configuration.

mod config;
mod copy;
mod mounts;
mod owner;
mod remote;
mod run;
mod workdir;

use std::collections::BTreeSet;

use rbuild_dockerfile::{Environment as _, ExpandError, Expansion, Instruction, Lexer, Place, Statement, Template};
use rbuild_graph::pb;

use crate::error::{Fallible, unexpanded};
use crate::frontend::Frontend;
use crate::names::{Counter, Step};
use crate::stages::{Command, Source};
use crate::state::State;

/// Arguments that never become variables of a step.
const NOT_VARIABLES: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// A stage being walked.
pub(crate) struct Walk<'w, 'a> {
    pub(super) front: &'w mut Frontend<'a>,
    pub(super) state: State,
    pub(super) unit: usize,
    /// The instruction being walked.
    at: Place,
}

impl<'a> Walk<'_, 'a> {
    /// Walks the instructions of `unit`, which begins with `state`.
    pub(crate) fn of(front: &mut Frontend<'a>, unit: usize, mut state: State) -> Fallible<State> {
        let named = state.own.counter.index;
        state.own.counter = Counter { index: named, ..front.counter(unit) };
        state.own.ignore_cache = front.plan.units[unit].ignore_cache;
        state.own.used_args.extend(front.plan.units[unit].used_args.iter().cloned());
        state.begin();
        let commands = std::mem::take(&mut front.plan.units[unit].commands);
        let at = front.plan.units[unit].place;
        let mut walk = Walk { front, state, unit, at };
        walk.begin();
        let done = commands.iter().try_for_each(|command| walk.command(command));
        walk.end();
        let state = walk.state;
        front.plan.units[unit].commands = commands;
        done.map(|()| state)
    }

    fn begin(&mut self) {
        let directory = self.state.image.config.working_dir.clone();
        if !directory.is_empty() {
            self.change_directory(&directory);
        }
        let user = self.state.image.config.user.clone();
        if !user.is_empty() {
            self.state.user = user;
        }
    }

    /// Notes which scans of contents the arguments ask for (A011).
    fn end(&mut self) {
        let label = self.front.plan.units[self.unit].label.clone();
        let [context, stage] = NOT_VARIABLES.map(|name| {
            let own = self.state.build_args.iter().rev().find(|(known, value)| known == name && value.is_some());
            let own = own.and_then(|(_, value)| value.as_deref());
            own.or_else(|| self.front.globals.variables.get(name)).is_some_and(|value| is_on_for(value, &label))
        });
        self.state.own.scan_context = context;
        self.state.own.scan_stage = stage;
    }

    fn command(&mut self, command: &Command<'a>) -> Fallible<()> {
        let at = command.statement.as_ref();
        self.at = at.place();
        match &at.instruction {
            Instruction::Add(add) => self.add(command, add),
            Instruction::Arg(arg) => self.arg(at, arg),
            Instruction::Cmd(cmd) => self.cmd(at, cmd),
            Instruction::Copy(copy) => self.copy(command, copy),
            Instruction::Entrypoint(entrypoint) => self.entrypoint(at, entrypoint),
            Instruction::Env(env) => self.env(at, env),
            Instruction::Expose(expose) => self.expose(at, expose),
            Instruction::Healthcheck(healthcheck) => self.healthcheck(at, healthcheck),
            Instruction::Label(label) => self.label(at, label),
            Instruction::Maintainer(maintainer) => self.maintainer(maintainer),
            Instruction::Onbuild(onbuild) => {
                self.state.image.config.on_build.push(onbuild.trigger.clone());
                Ok(())
            }
            Instruction::Run(run) => self.run(command, run),
            Instruction::Shell(shell) => self.shell(shell),
            Instruction::StopSignal(signal) => self.stop_signal(at, signal),
            Instruction::User(user) => self.user(at, user),
            Instruction::Volume(volume) => self.volume(at, volume),
            Instruction::Workdir(workdir) => self.workdir(command, workdir),
        }
    }

    /// Adds an entry to the history.
    fn commit(&mut self, text: String, with_layer: bool) -> Fallible<()> {
        self.front.spend(text.len(), self.at)?;
        let epoch = self.front.epoch;
        self.state.commit(text, with_layer, epoch);
        Ok(())
    }

    /// Expands a word of the instruction with the variables as they are before it (S013).
    fn expand(&mut self, at: &Statement, template: &Template) -> Fallible<String> {
        self.expand_with(self.front.lexer, at, template)
    }

    fn expand_with(&mut self, lexer: Lexer, at: &Statement, template: &Template) -> Fallible<String> {
        let place = Place { span: template.span, lines: at.lines };
        self.expanded(at, place, lexer.word(&template.text, &self.state.variables))
    }

    fn expand_optional(&mut self, at: &Statement, template: Option<&Template>) -> Fallible<Option<String>> {
        let value = template.map(|template| self.expand(at, template)).transpose()?;
        Ok(value.filter(|value| !value.is_empty()))
    }

    fn expanded(&mut self, at: &Statement, place: Place, result: Result<Expansion, ExpandError>) -> Fallible<String> {
        let unset = result.as_ref().map_or_else(|error| &error.unset, |expansion| &expansion.unset);
        self.report_unset(at, &unset.clone());
        result.map(|expansion| expansion.value).map_err(|error| unexpanded(place, &error))
    }

    /// Warns of variables that nobody set or declared.
    fn report_unset(&mut self, at: &Statement, unset: &BTreeSet<String>) {
        let declared = |name: &str| self.state.build_args.iter().any(|(known, _)| known == name);
        for name in unset.iter().filter(|name| !declared(name) && !NOT_VARIABLES.contains(&name.as_str())) {
            self.front.linter.undefined_var(at, name, self.state.variables.names());
        }
    }

    /// Returns the name of the next step.
    fn step_name(&mut self, text: &str, command: &Command<'_>) -> String {
        let state = &mut self.state;
        let step =
            Step { text, platform: &state.platform, variables: Some(&state.variables), on_build: command.on_build };
        state.own.counter.next(&step)
    }

    /// Returns another name for the step named last.
    fn step_name_again(&self, text: &str, command: &Command<'_>) -> String {
        let state = &self.state;
        let step =
            Step { text, platform: &state.platform, variables: Some(&state.variables), on_build: command.on_build };
        state.own.counter.again(&step)
    }

    /// Marks a path of what `source` stands for as used.
    fn use_path(&mut self, source: Source, path: &str) {
        let path = crate::path::join("/", path);
        match source {
            Source::Default => self.front.context_paths.insert(path),
            Source::Unit(unit) => {
                let first = self.front.states[unit].as_ref().map_or(unit, |state| state.paths);
                self.front.paths[first].insert(path)
            }
            Source::Scratch => false,
        };
    }

    fn locations(&self, at: &Statement) -> [pb::Location; 1] {
        [crate::state::location(at.lines)]
    }
}

impl Frontend<'_> {
    /// Returns the names of the steps of a unit.
    pub(crate) fn counter(&self, unit: usize) -> Counter {
        let unit = &self.plan.units[unit];
        Counter {
            stage: unit.label.clone(),
            total: unit.steps,
            with_platform: self.request.names_platforms(),
            index: 0,
        }
    }
}

fn is_on_for(value: &str, stage: &str) -> bool {
    rbuild_dockerfile::literal::boolean(value).unwrap_or_else(|| value.split(',').any(|name| name == stage))
}
