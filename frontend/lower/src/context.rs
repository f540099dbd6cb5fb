//! The build context as ops.

use std::collections::BTreeMap;

use rbuild_graph::{Builder, Definition, Node, Output, pb};

use crate::globals::{EPOCH, Globals};
use crate::names::{internal, named};
use crate::request::{MainContext, Request};
use crate::{git, source_op};

/// The build context while paths in use are being gathered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Context {
    /// A directory of the client, of which only what is used is asked for.
    Local(Node),
    /// Something else; none if there is nothing.
    Fixed(Option<Output>),
}

impl Context {
    /// Returns the op that stands for the context.
    pub(crate) fn output(self) -> Option<Output> {
        match self {
            Self::Local(node) => Some(node.output(0)),
            Self::Fixed(output) => output,
        }
    }
}

/// Returns the graph of a context that is not a directory of the client, as [`lower`](crate::lower()) begins it, so
/// that the Dockerfile can be read from it first; none for the others.
///
/// # Errors
/// Says what is wrong with the address.
pub fn remote_context(
    context: &MainContext,
    build_args: &BTreeMap<String, String>,
) -> Result<Option<Definition>, String> {
    let mut builder = Builder::new();
    let output = open_remote(context, build_args, &mut builder)?;
    Ok(output.map(|output| builder.finish(Some(output), Vec::new())))
}

/// Returns the source op of a context that is not a directory of the client.
pub(crate) fn source(request: &Request, globals: &Globals) -> Result<Option<pb::SourceOp>, String> {
    remote_source(&request.context, &globals.build_args)
}

fn remote_source(context: &MainContext, build_args: &BTreeMap<String, String>) -> Result<Option<pb::SourceOp>, String> {
    match context {
        MainContext::Local { .. } | MainContext::Input(_) | MainContext::Empty => Ok(None),
        MainContext::Archive(address) | MainContext::File(address) => {
            Ok(Some(source_op::http(address, "context", None)))
        }
        MainContext::Git(address) => {
            let mut git = git::parse(address)?.ok_or_else(|| format!("invalid git context {address}"))?;
            let keep = build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR").map(String::as_str);
            if keep.and_then(rbuild_dockerfile::literal::boolean) == Some(true) {
                git.keep_git_dir = Some(true);
            }
            // X007: with a fixed time, files get the time of their commit.
            if git.mtime.is_none() && build_args.get(EPOCH).is_some_and(|epoch| !epoch.is_empty()) {
                git.mtime = Some("commit".to_owned());
            }
            if git.like_a_path {
                git.remote = format!("https://{}", git.remote.trim_start_matches("https://"));
            }
            Ok(Some(source_op::git(&git)))
        }
    }
}

/// Makes the ops of the context; a directory of the client is only reserved.
pub(crate) fn open(request: &Request, globals: &Globals, builder: &mut Builder) -> Result<Context, String> {
    let output = match &request.context {
        MainContext::Local { .. } => return Ok(Context::Local(builder.reserve())),
        MainContext::Input(name) => open_input(name, request, builder)?,
        _ => open_remote(&request.context, &globals.build_args, builder)?,
    };
    let scoped = |output| match &request.context_directory {
        Some(directory) => select(builder, output, directory),
        None => output,
    };
    Ok(Context::Fixed(output.map(scoped)))
}

/// Builds upon an input of the request.
pub(crate) fn open_input(name: &str, request: &Request, builder: &mut Builder) -> Result<Option<Output>, String> {
    let input = request.inputs.get(name).ok_or_else(|| format!("there is no input {name}"))?;
    builder.import(&input.definition).map_err(|error| format!("input {name}: {error}"))
}

fn open_remote(
    context: &MainContext,
    build_args: &BTreeMap<String, String>,
    builder: &mut Builder,
) -> Result<Option<Output>, String> {
    let Some(source) = remote_source(context, build_args)? else {
        return Ok(None);
    };
    let name = match context {
        MainContext::Git(address) => internal(&format!("load git source {address}")),
        _ => internal("load remote build context"),
    };
    let output = source_op::add_source(builder, source, None, &name, &[]);
    let MainContext::Archive(_) = context else {
        return Ok(Some(output));
    };
    let unpack = pb::FileActionCopy {
        src: "/context".to_owned(),
        dest: "/".to_owned(),
        mode: -1,
        timestamp: -1,
        attempt_unpack_docker_compatibility: true,
        ..pb::FileActionCopy::default()
    };
    Ok(Some(copy_into_scratch(builder, output, unpack, "[internal] unpack build context")))
}

fn select(builder: &mut Builder, from: Output, directory: &str) -> Output {
    let part = pb::FileActionCopy {
        src: crate::path::join("/", directory),
        dest: "/".to_owned(),
        mode: -1,
        timestamp: -1,
        dir_copy_contents: true,
        ..pb::FileActionCopy::default()
    };
    copy_into_scratch(builder, from, part, "[internal] select build context")
}

fn copy_into_scratch(builder: &mut Builder, from: Output, copy: pb::FileActionCopy, name: &str) -> Output {
    let action =
        pb::FileAction { input: pb::EMPTY, secondary_input: 0, output: 0, action: Some(pb::Action::Copy(copy)) };
    let kind = pb::Kind::File(pb::FileOp { actions: vec![action] });
    source_op::add(builder, kind, None, vec![from], &named(name), &[])
}
