//! `SOURCE_DATE_EPOCH` (O010): a number, or the name of something that carries a time.

use rbuild_dockerfile::instruction::{Add, Arg};
use rbuild_dockerfile::{Dockerfile, Instruction, Lexer, Place, Stage};
use rbuild_graph::pb;

use crate::bridge::Bridge;
use crate::error::{Fallible, fail, unexpanded};
use crate::globals::{EPOCH, Globals};
use crate::named::{self, Kind};
use crate::request::Request;
use crate::stages::SCRATCH;
use crate::variables::Variables;
use crate::{context, git, source_op};

/// The seconds since 1970 that RFC 3339, and so an image, has a date for: years 1 to 9999.
pub const EPOCHS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Returns the time that the build asks for, in seconds since 1970.
pub(crate) async fn resolve(
    dockerfile: &Dockerfile,
    request: &Request,
    globals: &Globals,
    bridge: &dyn Bridge,
) -> Fallible<Option<i64>> {
    let Some(value) = globals.epoch().filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    if let Ok(seconds) = value.parse() {
        if !EPOCHS.contains(&seconds) {
            let place = declared_at(dockerfile);
            return Err(fail(place, format!("invalid {EPOCH}: {value}: dates have years from 1 to 9999")));
        }
        return Ok(Some(seconds));
    }
    if value == "context" && request.context_time.is_some() {
        return Ok(request.context_time);
    }
    let place = declared_at(dockerfile);
    let asked = source(value, dockerfile, request, globals, place)?;
    let Some((source, shown)) = asked else {
        return Ok(None);
    };
    let answer = bridge.source_time(&source, &shown).await;
    answer.map_err(|error| fail(place, format!("resolving {EPOCH}={value}: {}", error.chain())))
}

/// Returns where the argument stands, or the first stage if only the build gives it.
fn declared_at(dockerfile: &Dockerfile) -> Place {
    let declares = |arg: &Arg| arg.arguments.iter().any(|argument| argument.name.text == EPOCH);
    let meta = dockerfile.meta_args.iter().find(|meta| declares(&meta.arg)).map(|meta| meta.place());
    meta.unwrap_or_else(|| dockerfile.stages[0].place())
}

/// Returns the source that `value` names, and the name of the question; none if it has no time.
fn source(
    value: &str,
    dockerfile: &Dockerfile,
    request: &Request,
    globals: &Globals,
    place: Place,
) -> Fallible<Option<(pb::SourceOp, String)>> {
    if value == "context" {
        let source = context::source(request, globals).map_err(|reason| fail(place, reason))?;
        return Ok(source.map(|source| (source, "[internal] resolve main build context metadata".to_owned())));
    }
    if let Some(context) = named::find(value, None, request).map_err(|reason| fail(place, reason))? {
        let source = match context.kind().map_err(|reason| fail(place, reason))? {
            Kind::Git(git) => source_op::git(&git),
            Kind::Http(address) => source_op::http(&address, "context", None),
            Kind::Scratch | Kind::Image(_) | Kind::Layout { .. } | Kind::Local(_) | Kind::Input(_) => return Ok(None),
        };
        return Ok(Some((source, format!("[internal] resolve {EPOCH} named context {value}"))));
    }
    let named = |stage: &&Stage| stage.name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(value));
    let Some(stage) = dockerfile.stages.iter().find(named) else {
        return Err(fail(place, format!("invalid {EPOCH}: {value}")));
    };
    let source = stage_source(stage, dockerfile.escape, globals)?;
    let name = stage.name.as_deref().unwrap_or(value);
    Ok(Some((source, format!("[internal] resolve {EPOCH} source stage {name}"))))
}

/// Reads a stage that does nothing but fetch one thing.
fn stage_source(stage: &Stage, escape: char, globals: &Globals) -> Fallible<pb::SourceOp> {
    let lexer = Lexer::new(escape);
    let mut variables = globals.variables.clone();
    variables.remove(EPOCH);
    let place = stage.place();
    let base = lexer.word(&stage.base.text, &variables).map_err(|error| unexpanded(place, &error))?;
    if base.value != SCRATCH {
        return Err(fail(place, format!("{EPOCH} stage must use FROM scratch")));
    }
    let mut source = None;
    for statement in &stage.instructions {
        match &statement.instruction {
            Instruction::Arg(arg) => set_args(arg, &mut variables, lexer, globals, place)?,
            Instruction::Add(add) if source.is_none() => source = Some(add_source(add, &variables, lexer, place)?),
            Instruction::Add(_) => return Err(fail(statement.place(), one_add())),
            _ => {
                let message = format!(
                    "{EPOCH} stage does not meet source-only requirements: unsupported {} instruction",
                    statement.keyword
                );
                return Err(fail(statement.place(), message));
            }
        }
    }
    source.ok_or_else(|| fail(place, one_add()))
}

fn one_add() -> String {
    format!("{EPOCH} stage must contain exactly one remote ADD")
}

fn set_args(arg: &Arg, variables: &mut Variables, lexer: Lexer, globals: &Globals, place: Place) -> Fallible<()> {
    for argument in &arg.arguments {
        let name = &argument.name.text;
        if let Some(value) = globals.build_args.get(name) {
            variables.set(name, value.clone());
        } else if let Some(default) = &argument.default {
            let expanded = lexer.word(&default.text, variables).map_err(|error| unexpanded(place, &error))?;
            variables.set(name, expanded.value);
        }
    }
    Ok(())
}

fn add_source(add: &Add, variables: &Variables, lexer: Lexer, place: Place) -> Fallible<pb::SourceOp> {
    let ([path], []) = (add.sources.paths.as_slice(), add.sources.files.as_slice()) else {
        return Err(fail(place, format!("{} source", one_add())));
    };
    let expand =
        |text: &str| lexer.word(text, variables).map(|word| word.value).map_err(|error| unexpanded(place, &error));
    let address = expand(&path.text)?;
    let checksum = add
        .checksum
        .as_ref()
        .map(|checksum| expand(&checksum.text))
        .transpose()?
        .filter(|checksum| !checksum.is_empty());
    match git::parse(&address).map_err(|reason| fail(place, reason))? {
        Some(mut git) if !git.like_a_path => {
            git.keep_git_dir = Some(git.keep_git_dir == Some(true) || add.keep_git_dir == Some(true));
            git.checksum = checksum.or(git.checksum);
            Ok(source_op::git(&git))
        }
        _ if address.starts_with("http://") || address.starts_with("https://") => {
            Ok(source_op::http(&address, &git::file_name(&address), checksum.as_deref()))
        }
        _ => Err(fail(place, format!("{EPOCH} stage source must be a single HTTP(S) or Git ADD"))),
    }
}
