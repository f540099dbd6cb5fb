//! The second pass: stages, what they stand upon and what they take from each other.
//!
//! A [`Unit`] is a stage of the Dockerfile, or something outside that a `--from` names. Units refer to
//! each other by index.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use rbuild_dockerfile::expand::Empty;
use rbuild_dockerfile::{
    Diagnostic, Dockerfile, Environment as _, Instruction, Lexer, Linter, MAX_INSTRUCTIONS, Phase, Place, Stage,
    Statement, nearest,
};
use rbuild_oci::Platform;

use crate::error::{Fallible, fail, unexpanded};
use crate::globals::Globals;
use crate::named::{self, NamedContext};
use crate::request::Request;

/// The name of the empty image.
pub(crate) const SCRATCH: &str = "scratch";

/// A stage, or something outside that a `--from` names.
#[derive(Debug, Clone)]
pub(crate) struct Unit<'a> {
    /// The stage; none for something outside.
    pub(crate) stage: Option<&'a Stage>,
    /// What it is called in messages and names of steps; empty for something outside.
    pub(crate) label: String,
    /// What it stands upon.
    pub(crate) base: Base,
    /// The named context that takes the place of the whole stage.
    pub(crate) context: Option<NamedContext>,
    /// The platform it asks for.
    pub(crate) platform: Option<Platform>,
    /// Where it stands: the `FROM`, or the instruction that names it.
    pub(crate) place: Place,
    /// The instructions, triggers of the base first.
    pub(crate) commands: Vec<Command<'a>>,
    /// How many steps are counted in names.
    pub(crate) steps: usize,
    /// Whether its steps run although their results are known.
    pub(crate) ignore_cache: bool,
    /// Arguments that the `FROM` used.
    pub(crate) used_args: BTreeSet<String>,
    /// Whether the triggers of the base were looked for.
    pub(crate) triggered: bool,
}

/// What a unit stands upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Base {
    Scratch,
    Unit(usize),
    Image(String),
}

/// An instruction with what it takes from elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Command<'a> {
    pub(crate) statement: Cow<'a, Statement>,
    /// Whether it is a trigger of the base.
    pub(crate) on_build: bool,
    /// `COPY --from`, or for each mount of a `RUN` its `from`.
    pub(crate) sources: Vec<Source>,
}

/// Where files are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// No `from` was given.
    Default,
    Scratch,
    Unit(usize),
}

/// All units of a Dockerfile.
#[derive(Debug, Clone)]
pub(crate) struct Plan<'a> {
    pub(crate) units: Vec<Unit<'a>>,
    /// How many of them are stages.
    pub(crate) declared: usize,
    /// The stage to build.
    pub(crate) target: usize,
    /// Stages by name in lower case; of equal names the last.
    pub(crate) names: BTreeMap<String, usize>,
    /// Things outside that a `--from` names.
    outside: BTreeMap<String, usize>,
    pub(crate) request: &'a Request,
    escape: char,
}

/// Registers all stages and finds the target.
pub(crate) fn plan<'a>(
    dockerfile: &'a Dockerfile,
    request: &'a Request,
    globals: &Globals,
    linter: &mut Linter,
) -> Fallible<Plan<'a>> {
    let mut plan = Plan {
        units: Vec::new(),
        declared: 0,
        target: 0,
        names: BTreeMap::new(),
        outside: BTreeMap::new(),
        request,
        escape: dockerfile.escape,
    };
    for (index, stage) in dockerfile.stages.iter().enumerate() {
        let unit = from(stage, index, request, globals, &plan, linter)?;
        if let Some(name) = &stage.name {
            plan.names.insert(name.to_lowercase(), index);
        }
        plan.units.push(unit);
    }
    plan.declared = plan.units.len();
    plan.target = target(&plan, request, dockerfile)?;
    let replaced = plan.substitute_stages()?;
    for index in 0..plan.declared {
        if plan.units[index].context.is_none() && !replaced.contains(&index) {
            let stage = &dockerfile.stages[index];
            plan.units[index].commands = plan.commands(stage.instructions.iter().map(Cow::Borrowed), false)?;
        }
    }
    plan.check_circles()?;
    if plan.units.len() == 1 && !plan.has_mounts() {
        plan.units[0].label = String::new();
    }
    Ok(plan)
}

/// Reads a `FROM`.
fn from<'a>(
    stage: &'a Stage,
    index: usize,
    request: &Request,
    globals: &Globals,
    plan: &Plan<'a>,
    linter: &mut Linter,
) -> Fallible<Unit<'a>> {
    let lexer = Lexer::new(plan.escape);
    let place = stage.place();
    let base = lexer.word(&stage.base.text, &globals.variables).map_err(|error| unexpanded(place, &error))?;
    undeclared(&base.unset, stage, globals, linter);
    if base.value.is_empty() {
        let message = format!("base name ({}) should not be blank", stage.base.text);
        let known = globals.known_names();
        let near = base.unset.iter().find_map(|name| nearest(name, known.iter().copied(), true));
        return Err(Box::new(Diagnostic::error(Phase::Build, place, message).with_suggestion(near)));
    }
    let mut used_args = base.used;
    let platform = platform(stage, lexer, globals, &mut used_args, linter)?;
    let label = stage.name.clone().unwrap_or_else(|| format!("stage-{index}"));
    let mut unit = Unit {
        stage: Some(stage),
        label,
        base: plan.base(base.value),
        context: None,
        platform,
        place,
        commands: Vec::new(),
        steps: 0,
        ignore_cache: request.no_cache.covers(stage.name.as_deref().unwrap_or("")),
        used_args,
        triggered: false,
    };
    if let Some(name) = &stage.name {
        unit.context = named::find(name, unit.platform.as_ref(), request).map_err(|reason| fail(place, reason))?;
    }
    if unit.context.is_none() {
        let counted = stage.instructions.iter().filter(|statement| is_step(&statement.instruction)).count();
        unit.steps = counted + usize::from(matches!(unit.base, Base::Image(_)));
    }
    Ok(unit)
}

fn platform(
    stage: &Stage,
    lexer: Lexer,
    globals: &Globals,
    used_args: &mut BTreeSet<String>,
    linter: &mut Linter,
) -> Fallible<Option<Platform>> {
    let Some(template) = &stage.platform else {
        return Ok(None);
    };
    let place = Place { span: template.span, lines: stage.lines };
    let expansion = lexer
        .word(&template.text, &globals.variables)
        .map_err(|error| fail(place, format!("failed to process arguments for platform {}: {error}", template.text)))?;
    undeclared(&expansion.unset, stage, globals, linter);
    linter.redundant_target_platform(stage, &expansion, globals.variables.get("TARGETPLATFORM"));
    if let Ok(parsed) = Platform::parse(&expansion.value) {
        linter.constant_platform(stage, &expansion, &parsed.os, &parsed.architecture);
    }
    let known = globals.known_names();
    let argument = || expansion.unset.iter().find_map(|name| nearest(name, known.iter().copied(), true));
    let near = || argument().or_else(|| near_platform(&expansion.value));
    let wrong = |message: String| Box::new(Diagnostic::error(Phase::Build, place, message).with_suggestion(near()));
    if expansion.value.is_empty() {
        return Err(wrong(format!("empty platform value from expression {}", template.text)));
    }
    let parsed = Platform::parse(&expansion.value);
    let platform = parsed.map_err(|error| wrong(format!("failed to parse platform {}: {error}", template.text)))?;
    used_args.extend(expansion.used);
    Ok(Some(platform))
}

/// Returns a platform whose words are known and nearest to those of `text`.
pub(crate) fn near_platform(text: &str) -> Option<String> {
    let mut changed = false;
    let known = |word: &str| Platform::known_names().any(|name| name == word);
    let words = text.split('/').take(2).map(|word| match known(word) {
        true => Some(word.to_owned()),
        false => nearest(word, Platform::known_names(), true).inspect(|_| changed = true),
    });
    let words = words.collect::<Option<Vec<String>>>()?;
    changed.then(|| words.join("/"))
}

fn undeclared(unset: &BTreeSet<String>, stage: &Stage, globals: &Globals, linter: &mut Linter) {
    let known = globals.known_names();
    for name in unset.iter().filter(|name| !known.contains(&name.as_str())) {
        linter.undefined_arg_in_from(stage, name, known.iter().copied());
    }
}

fn target(plan: &Plan<'_>, request: &Request, dockerfile: &Dockerfile) -> Fallible<usize> {
    let Some(name) = request.target.as_deref().filter(|name| !name.is_empty()) else {
        return Ok(plan.declared - 1);
    };
    plan.names.get(&name.to_lowercase()).copied().ok_or_else(|| {
        let last = dockerfile.stages.last().map(Stage::place).expect("a Dockerfile without stages is refused before");
        let message = format!("target stage {} could not be found", rbuild_dockerfile::literal::quote(name));
        Box::new(Diagnostic::error(Phase::Build, last, message).with_suggestion(nearest(name, plan.labels(), true)))
    })
}

/// Returns whether an instruction is counted in the names of steps.
fn is_step(instruction: &Instruction) -> bool {
    matches!(instruction, Instruction::Add(_) | Instruction::Copy(_) | Instruction::Run(_) | Instruction::Workdir(_))
}

impl Unit<'_> {
    /// Returns what stages upon this one run first.
    pub(crate) fn own_triggers(&self) -> Vec<String> {
        let trigger = |command: &Command<'_>| match &command.statement.instruction {
            Instruction::Onbuild(onbuild) => Some(onbuild.trigger.clone()),
            _ => None,
        };
        self.commands.iter().filter_map(trigger).collect()
    }
}

impl<'a> Plan<'a> {
    /// Returns what stages are called.
    pub(crate) fn labels(&self) -> impl Iterator<Item = &str> {
        self.units.iter().map(|unit| unit.label.as_str()).filter(|label| !label.is_empty())
    }

    /// Returns what `FROM name` stands upon: a stage before it, whatever is called so.
    fn base(&self, name: String) -> Base {
        match self.names.get(&name) {
            Some(index) => Base::Unit(*index),
            None if name == SCRATCH => Base::Scratch,
            None => Base::Image(name),
        }
    }

    /// Returns the instructions with what they take from elsewhere; new things outside become units.
    fn commands(
        &mut self,
        statements: impl Iterator<Item = Cow<'a, Statement>>,
        on_build: bool,
    ) -> Fallible<Vec<Command<'a>>> {
        let mut commands = Vec::new();
        for statement in statements {
            let sources = match &statement.instruction {
                Instruction::Copy(copy) => match &copy.from {
                    Some(from) if !from.text.is_empty() => {
                        let place = Place { span: from.span, lines: statement.lines };
                        vec![self.copy_source(&from.text, place)?]
                    }
                    _ => vec![Source::Default],
                },
                Instruction::Run(run) => {
                    let place = |span| Place { span, lines: statement.lines };
                    let mounts = run.mounts.iter().map(|mount| (mount.from.as_deref(), place(mount.text.span)));
                    let mounts: Vec<_> = mounts.collect();
                    let sources = mounts.into_iter().map(|(from, place)| self.mount_source(from, place));
                    sources.collect::<Fallible<_>>()?
                }
                _ => Vec::new(),
            };
            commands.push(Command { statement, on_build, sources });
        }
        Ok(commands)
    }

    fn copy_source(&mut self, from: &str, place: Place) -> Fallible<Source> {
        let expanded = Lexer::new(self.escape).word(from, &Empty).map_err(|error| unexpanded(place, &error))?;
        if expanded.value != from {
            let message = "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround";
            return Err(fail(place, message));
        }
        match from.parse::<i64>() {
            Err(_) => self.named_source(from, place),
            Ok(number) => match usize::try_from(number) {
                Ok(index) if index < self.declared => Ok(Source::Unit(index)),
                _ => Err(fail(place, format!("invalid stage index {number}"))),
            },
        }
    }

    fn mount_source(&mut self, from: Option<&str>, place: Place) -> Fallible<Source> {
        match from {
            None | Some("") => Ok(Source::Default),
            Some(from) => self.named_source(from, place),
        }
    }

    fn named_source(&mut self, name: &str, place: Place) -> Fallible<Source> {
        if let Some(index) = self.names.get(&name.to_lowercase()) {
            return Ok(Source::Unit(*index));
        }
        if name == SCRATCH {
            return Ok(Source::Scratch);
        }
        if let Some(index) = self.outside.get(name) {
            return Ok(Source::Unit(*index));
        }
        if let Some(index) = self.substitute(name, None, place)? {
            return Ok(Source::Unit(index));
        }
        self.outside.insert(name.to_owned(), self.units.len());
        self.units.push(Unit {
            stage: None,
            label: String::new(),
            base: Base::Image(name.to_owned()),
            context: None,
            platform: None,
            place,
            commands: Vec::new(),
            steps: 0,
            ignore_cache: false,
            used_args: BTreeSet::new(),
            triggered: true,
        });
        Ok(Source::Unit(self.units.len() - 1))
    }

    /// Puts triggers of the base before the instructions of a stage (G011). Returns whether they need
    /// something that may not have been looked up yet (G012).
    pub(crate) fn add_triggers(&mut self, index: usize, triggers: &[String]) -> Fallible<bool> {
        let place = self.units[index].place;
        if triggers.len() > MAX_INSTRUCTIONS {
            return Err(fail(place, format!("the base has more than the limit of {MAX_INSTRUCTIONS} triggers")));
        }
        let mut statements = Vec::new();
        for trigger in triggers {
            let parsed = rbuild_dockerfile::parse_instruction(trigger, place);
            statements.push(Cow::Owned(parsed.map_err(|errors| {
                let first = errors.into_iter().find(Diagnostic::is_error);
                let reason = first.map(|error| error.text()).unwrap_or_default();
                fail(place, format!("reading trigger `ONBUILD {trigger}` of the base: {reason}"))
            })?));
        }
        let mut commands = self.commands(statements.into_iter(), true)?;
        let needs = commands.iter().any(|command| !command.sources.is_empty());
        let unit = &mut self.units[index];
        unit.steps += commands.len();
        commands.append(&mut unit.commands);
        unit.commands = commands;
        if needs {
            self.check_circles()?;
        }
        Ok(needs)
    }
}
