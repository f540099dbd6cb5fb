//! Tree to typed instructions.

use crate::ast::{Ast, Node};
use crate::diagnostic::{Diagnostic, Phase};
use crate::directive::{DirectiveName, find_directive};
use crate::instruction::{
    Add, Arg, Cmd, Copy, Entrypoint, Env, Expose, From, Healthcheck, Instruction, Label, Maintainer, Onbuild, Run,
    Shell, Statement, StopSignal, User, Volume, Workdir,
};
use crate::keyword::Keyword;
use crate::lint::CheckOptions;
use crate::parse::parse;
use crate::problem::Problem;
use crate::request::{Request, diagnose};
use crate::source::Place;
use crate::stage::{Dockerfile, MetaArg, Stage};

/// Reads the instructions of `ast`. Never fails: what could not be read is left out and told in the diagnostics.
/// Lint warnings are not among them, see [`Linter`](crate::Linter).
pub fn interpret(ast: &Ast<'_>) -> (Dockerfile, Vec<Diagnostic>) {
    let mut reader = Reader { ast, dockerfile: empty(ast), diagnostics: Vec::new(), from_seen: false };
    reader.check_options();
    for node in ast.nodes() {
        if let Err(problem) = reader.node(node) {
            reader.diagnostics.push(diagnose(problem, node, None));
        }
    }
    reader.check_stages();
    (reader.dockerfile, reader.diagnostics)
}

/// Reads one instruction, such as an `ONBUILD` trigger of an image; all its spans and lines become `place` (the
/// `FROM` that brought it). `FROM`, `ONBUILD` and `MAINTAINER` are refused.
pub fn parse_instruction(text: &str, place: Place) -> Result<Statement, Vec<Diagnostic>> {
    let (ast, mut diagnostics) = parse(text);
    for diagnostic in &mut diagnostics {
        diagnostic.span = place.span;
        diagnostic.lines = place.lines;
    }
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    let mut nodes = ast.nodes();
    let (Some(node), None) = (nodes.next(), nodes.next()) else {
        let message = "onbuild trigger should be a single expression";
        return Err(vec![Diagnostic::error(Phase::Build, place, message)]);
    };
    let read = || {
        let request = Request::new(ast.source, ast.escape, node, Some(place))?;
        if request.keyword == Keyword::From {
            return Err(Problem::new("FROM isn't allowed as an ONBUILD trigger"));
        }
        statement(&request)
    };
    read().map_err(|problem| vec![diagnose(problem, node, Some(place))])
}

fn empty(ast: &Ast<'_>) -> Dockerfile {
    Dockerfile {
        directives: ast.directives().cloned().collect(),
        escape: ast.escape,
        check: CheckOptions::default(),
        meta_args: Vec::new(),
        stages: Vec::new(),
    }
}

struct Reader<'a> {
    ast: &'a Ast<'a>,
    dockerfile: Dockerfile,
    diagnostics: Vec<Diagnostic>,
    /// Whether there was a `FROM`, readable or not.
    from_seen: bool,
}

impl Reader<'_> {
    fn check_options(&mut self) {
        let Some(directive) = find_directive(DirectiveName::Check, self.ast.source) else { return };
        match CheckOptions::parse(directive.first_word()) {
            Ok(options) => self.dockerfile.check = options,
            Err(error) => {
                let place = Place { span: directive.span, lines: directive.lines };
                let message = format!("failed to parse check options: {error}");
                let diagnostic = Diagnostic::error(Phase::Parse, place, message);
                self.diagnostics.push(diagnostic.with_suggestion(error.suggestion()));
            }
        }
    }

    fn node(&mut self, node: &Node<'_>) -> Result<(), Problem> {
        self.from_seen |= Keyword::parse(node.keyword()) == Some(Keyword::From);
        let request = Request::new(self.ast.source, self.ast.escape, node, None)?;
        if request.keyword == Keyword::From {
            self.dockerfile.stages.push(stage(&request)?);
            return Ok(());
        }
        let statement = statement(&request)?;
        match (self.dockerfile.stages.last_mut(), statement) {
            // A stage whose FROM cannot be read is lost; what belongs to it goes nowhere, and the error tells why.
            (None, _) if self.from_seen => {}
            (Some(stage), statement) => stage.instructions.push(statement),
            (None, Statement { instruction: Instruction::Arg(arg), keyword, span, lines, comments, .. }) => {
                self.dockerfile.meta_args.push(MetaArg { arg, keyword, span, lines, comments });
            }
            (None, _) => {
                let hint = "only ARG may stand before the first FROM";
                return Err(Problem::bare("no build stage in current context").hint(hint));
            }
        }
        Ok(())
    }

    fn check_stages(&mut self) {
        let Some(last) = self.ast.nodes().last() else { return };
        if !self.from_seen && self.diagnostics.is_empty() {
            let message = "dockerfile contains no stages to build";
            self.diagnostics.push(Diagnostic::error(Phase::Build, last.place(), message));
        }
    }
}

fn stage(request: &Request<'_>) -> Result<Stage, Problem> {
    let From { base, platform, as_keyword, name } = From::read(request)?;
    let lower = name.as_ref().map(|name| name.text.to_lowercase());
    let node = request.node;
    Ok(Stage {
        description: lower.as_deref().and_then(|name| request.description(name)),
        name: lower,
        name_as_written: name,
        base,
        platform,
        as_keyword,
        instructions: Vec::new(),
        comments: node.comments.clone(),
        keyword: node.keyword().to_owned(),
        original: node.text.trim().to_owned(),
        span: node.span,
        lines: node.lines,
    })
}

fn statement(request: &Request<'_>) -> Result<Statement, Problem> {
    let Place { span, lines } = request.place();
    Ok(Statement {
        instruction: instruction(request)?,
        keyword: request.node.keyword().to_owned(),
        original: request.node.text.trim().to_owned(),
        span,
        lines,
        comments: request.node.comments.clone(),
    })
}

fn instruction(request: &Request<'_>) -> Result<Instruction, Problem> {
    Ok(match request.keyword {
        Keyword::Add => Instruction::Add(Add::read(request)?),
        Keyword::Arg => Instruction::Arg(Arg::read(request)?),
        Keyword::Cmd => Instruction::Cmd(Cmd::read(request)?),
        Keyword::Copy => Instruction::Copy(Copy::read(request)?),
        Keyword::Entrypoint => Instruction::Entrypoint(Entrypoint::read(request)?),
        Keyword::Env => Instruction::Env(Env::read(request)?),
        Keyword::Expose => Instruction::Expose(Expose::read(request)?),
        Keyword::From => return Err(Problem::new("FROM opens a stage and is no instruction of one")),
        Keyword::Healthcheck => Instruction::Healthcheck(Healthcheck::read(request)?),
        Keyword::Label => Instruction::Label(Label::read(request)?),
        Keyword::Maintainer => Instruction::Maintainer(Maintainer::read(request)?),
        Keyword::Onbuild => Instruction::Onbuild(Onbuild::read(request)?),
        Keyword::Run => Instruction::Run(Run::read(request)?),
        Keyword::Shell => Instruction::Shell(Shell::read(request)?),
        Keyword::StopSignal => Instruction::StopSignal(StopSignal::read(request)?),
        Keyword::User => Instruction::User(User::read(request)?),
        Keyword::Volume => Instruction::Volume(Volume::read(request)?),
        Keyword::Workdir => Instruction::Workdir(Workdir::read(request)?),
    })
}
