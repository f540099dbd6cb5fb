//! `COPY` and `ADD`.

use rbuild_dockerfile::instruction::{Add, Copy, InlineFile, Sources};
use rbuild_dockerfile::{Lexer, Place, Statement, Template};
use rbuild_graph::{Output, pb};
use rbuild_oci::Digest;

use super::Walk;
use super::owner::{Mode, mode};
use crate::error::{Fallible, fail};
use crate::git::{self, GitRef};
use crate::names::{internal, named, shown};
use crate::stages::{Command, Source};
use crate::{path, source_op};

/// A `COPY` or `ADD` with all words expanded.
#[derive(Debug, Default)]
pub(super) struct Copying {
    pub(super) is_add: bool,
    /// Sources, with the places they are written at.
    paths: Vec<(String, Place)>,
    files: Vec<(String, String)>,
    destination: String,
    owner: Option<String>,
    mode: Option<String>,
    pub(super) checksum: Option<String>,
    exclude: Vec<String>,
    link: bool,
    parents: bool,
    pub(super) keep_git_dir: Option<bool>,
    pub(super) unpack: Option<bool>,
}

impl Walk<'_, '_> {
    pub(super) fn copy(&mut self, command: &Command<'_>, copy: &Copy) -> Fallible<()> {
        let at = command.statement.as_ref();
        let source = command.sources.first().copied().unwrap_or(Source::Default);
        let copying =
            Copying { link: copy.link, parents: copy.parents, exclude: texts(&copy.exclude), ..Copying::default() };
        let copying = self.expand_copy(at, copying, copy.chown.as_ref(), copy.chmod.as_ref(), None, &copy.sources)?;
        let from = copy.from.as_ref().map_or("", |from| &from.text);
        let input = self.source_output(source, from, at)?;
        self.transfer(command, &copying, source, input)?;
        for (path, _) in &copying.paths {
            self.use_path(source, path);
        }
        Ok(())
    }

    pub(super) fn add(&mut self, command: &Command<'_>, add: &Add) -> Fallible<()> {
        let at = command.statement.as_ref();
        let copying = Copying {
            is_add: true,
            link: add.link,
            exclude: texts(&add.exclude),
            keep_git_dir: add.keep_git_dir,
            unpack: add.unpack,
            ..Copying::default()
        };
        let (chown, chmod) = (add.chown.as_ref(), add.chmod.as_ref());
        let copying = self.expand_copy(at, copying, chown, chmod, add.checksum.as_ref(), &add.sources)?;
        let context = self.front.context.output();
        self.transfer(command, &copying, Source::Default, context)?;
        let local =
            |path: &str| !is_address(path) && !matches!(git::parse(path), Ok(Some(GitRef { like_a_path: false, .. })));
        for (path, _) in copying.paths.iter().filter(|(path, _)| local(path)) {
            self.use_path(Source::Default, path);
        }
        Ok(())
    }

    fn expand_copy(
        &mut self,
        at: &Statement,
        mut copying: Copying,
        chown: Option<&Template>,
        chmod: Option<&Template>,
        checksum: Option<&Template>,
        sources: &Sources,
    ) -> Fallible<Copying> {
        copying.owner = self.expand_optional(at, chown)?;
        copying.mode = self.expand_optional(at, chmod)?;
        copying.checksum = self.expand_optional(at, checksum)?;
        for template in &sources.paths {
            let place = Place { span: template.span, lines: at.lines };
            copying.paths.push((self.expand(at, template)?, place));
        }
        copying.destination = self.expand(at, &sources.destination)?;
        for file in &sources.files {
            copying.files.push((file.name.clone(), self.inline_content(at, file)?));
        }
        Ok(copying)
    }

    /// F036: variables are replaced unless the heredoc word was quoted; quotes are plain text.
    fn inline_content(&mut self, at: &Statement, file: &InlineFile) -> Fallible<String> {
        if !file.expand {
            return Ok(file.content.clone());
        }
        let template = Template::new(file.content.clone(), file.span);
        self.expand_with(Lexer::heredoc(), at, &template)
    }

    /// Returns the file system that a `--from` stands for; it must have been made already (G014).
    fn source_output(&self, source: Source, from: &str, at: &Statement) -> Fallible<Option<Output>> {
        match source {
            Source::Default => Ok(self.front.context.output()),
            Source::Scratch => Ok(None),
            Source::Unit(unit) if self.front.walked[unit] && unit != self.unit => {
                Ok(self.front.states[unit].as_ref().and_then(|state| state.output))
            }
            Source::Unit(_) => {
                let label = &self.front.plan.units[self.unit].label;
                let label = if label.is_empty() { "stage-0" } else { label };
                let message =
                    format!("cannot copy from stage {from:?}, it needs to be defined before current stage {label:?}");
                Err(fail(at.place(), message))
            }
        }
    }

    /// Makes the op that copies.
    fn transfer(
        &mut self,
        command: &Command<'_>,
        copying: &Copying,
        source: Source,
        input: Option<Output>,
    ) -> Fallible<()> {
        let at = command.statement.as_ref();
        self.check_checksum(copying, at)?;
        // C014: a mode makes a linked copy an ordinary one.
        let link = copying.link && copying.mode.is_none();
        let base = if link { None } else { self.state.output };
        let mut file = Actions::upon(base);
        let text = shown(self.front.lexer, &at.original, &self.state.variables);
        let name = self.step_name(&text, command);
        let linked = link.then(|| self.step_name_again(&format!("LINK {text}"), command));
        let template = self.template(copying, base.is_some(), at)?;
        for (path, place) in &copying.paths {
            let (from, copy) = match self.remote(copying, path, &name, template.clone(), *place)? {
                Some((from, copy)) => (Some(from), copy),
                None => {
                    if source == Source::Default {
                        self.check_ignored(at, path);
                    }
                    (input, local(copying, path, template.clone()))
                }
            };
            self.front.spend(copy.dest.len() + copy.src.len(), self.at)?;
            file.copy(from, copy);
        }
        for (name, content) in &copying.files {
            self.front.spend(content.len(), self.at)?;
            let (from, src) = self.inline(name, content);
            file.copy(Some(from), pb::FileActionCopy { src, ..template.clone() });
        }
        self.finish_copy(command, copying, file, name, linked)
    }

    fn finish_copy(
        &mut self,
        command: &Command<'_>,
        copying: &Copying,
        file: Actions,
        name: String,
        linked: Option<String>,
    ) -> Fallible<()> {
        let at = command.statement.as_ref();
        let mut metadata = named(&name);
        metadata.ignore_cache = self.state.own.ignore_cache;
        let locations = self.locations(at);
        let (kind, inputs) = file.into_op();
        let builder = &mut self.front.builder;
        let output = match linked {
            None => source_op::add(builder, kind, None, inputs, &metadata, &locations),
            Some(linked) => {
                let id = Digest::of(format!("{name}\n{:?}", at.lines).as_bytes()).hex();
                let group = |weak| Some(pb::ProgressGroup { id: id.clone(), name: name.clone(), weak });
                metadata.progress_group = group(true);
                let copied = source_op::add(builder, kind, None, inputs, &metadata, &locations);
                let mut merged = pb::OpMetadata { progress_group: group(false), ..metadata.clone() };
                merged.merge(&named(linked));
                match self.state.output {
                    None => copied,
                    Some(below) => {
                        let inputs = vec![pb::MergeInput { input: 0 }, pb::MergeInput { input: 1 }];
                        let kind = pb::Kind::Merge(pb::MergeOp { inputs });
                        source_op::add(builder, kind, None, vec![below, copied], &merged, &locations)
                    }
                }
            }
        };
        self.state.output = Some(output);
        self.commit(history(copying), true)
    }

    /// Returns what all copies of an instruction have in common.
    fn template(&self, copying: &Copying, has_base: bool, at: &Statement) -> Fallible<pb::FileActionCopy> {
        let (bits, symbolic) =
            match copying.mode.as_deref().map(mode).transpose().map_err(|reason| fail(at.place(), reason))? {
                None => (-1, String::new()),
                Some(Mode::Bits(bits)) => (bits, String::new()),
                Some(Mode::Symbolic(text)) => (0, text),
            };
        let owner = copying.owner.as_deref().map(|owner| self.owner(owner, has_base, at.place())).transpose()?;
        let destination = path::destination(&self.state.directory, &copying.destination);
        Ok(pb::FileActionCopy {
            dest: path::in_op(&self.state.directory, &destination, true),
            owner,
            mode: bits,
            mode_str: symbolic,
            create_dest_path: true,
            timestamp: -1,
            exclude_patterns: copying.exclude.clone(),
            ..pb::FileActionCopy::default()
        })
    }

    fn check_checksum(&self, copying: &Copying, at: &Statement) -> Fallible<()> {
        if copying.checksum.is_none() {
            return Ok(());
        }
        match copying.paths.as_slice() {
            [(path, place)] => {
                let is_git = matches!(git::parse(path), Ok(Some(_)) | Err(_));
                if is_git || is_address(path) {
                    return Ok(());
                }
                Err(fail(*place, "checksum requires HTTP(S) or Git sources"))
            }
            _ => Err(fail(at.place(), "checksum can't be specified for multiple sources")),
        }
    }

    /// Makes a file system with one file in it and returns it with the path.
    pub(super) fn inline(&mut self, name: &str, content: &str) -> (Output, String) {
        self.inline_file(name, content, 0o644)
    }

    pub(super) fn inline_file(&mut self, name: &str, content: &str, mode: i32) -> (Output, String) {
        let path = path::in_op("/", name, false);
        let data = content.as_bytes().to_vec().into();
        let mkfile = pb::FileActionMkFile { path: path.clone(), mode, data, owner: None, timestamp: self.made_at() };
        let action = pb::FileAction {
            input: pb::EMPTY,
            secondary_input: pb::EMPTY,
            output: 0,
            action: Some(pb::Action::Mkfile(mkfile)),
        };
        let kind = pb::Kind::File(pb::FileOp { actions: vec![action] });
        let metadata = internal("preparing inline document");
        (source_op::add(&mut self.front.builder, kind, None, Vec::new(), &metadata, &[]), path)
    }

    /// Warns of a source that the ignore file leaves out. With exceptions in the file that is too hard to say.
    fn check_ignored(&mut self, at: &Statement, path: &str) {
        let crate::request::MainContext::Local { exclude, .. } = &self.front.request.context else {
            return;
        };
        if exclude.is_empty() || exclude.iter().any(|pattern| pattern.starts_with('!')) {
            return;
        }
        let path = path::clean(path);
        let all = || exclude.iter().any(|pattern| matches!(pattern.as_str(), "*" | "**" | "**/*"));
        if matches!(path.as_str(), "." | "/") && !all() {
            return;
        }
        if self.front.bridge.is_ignored(&path) {
            self.front.linter.copy_ignored_file(at, &path);
        }
    }
}

/// Completes the copy of a path of the context, of a stage or of an image.
fn local(copying: &Copying, source: &str, template: pb::FileActionCopy) -> pb::FileActionCopy {
    let mut source = source;
    let (mut include_patterns, mut required_paths) = (Vec::new(), Vec::new());
    if copying.parents {
        // C015: what comes before `/./` is left out of the destination.
        let (pivot, pattern) = source.split_once("/./").unwrap_or(("/", source));
        source = pivot;
        let pattern = path::absolute("/", pattern, false);
        include_patterns.push(pattern.trim_start_matches('/').to_owned());
        if !path::has_wildcards(source) && !path::has_wildcards(&pattern) {
            required_paths.push(path::absolute("/", &path::join(source, &pattern), false));
        }
    }
    pb::FileActionCopy {
        src: path::clean(&path::absolute("/", source, false)),
        follow_symlink: true,
        dir_copy_contents: true,
        attempt_unpack_docker_compatibility: copying.unpack.unwrap_or(copying.is_add),
        allow_wildcard: true,
        allow_empty_wildcard: true,
        include_patterns,
        required_paths,
        ..template
    }
}

/// C025
fn history(copying: &Copying) -> String {
    let mut text = if copying.is_add { "ADD" } else { "COPY" }.to_owned();
    if copying.parents {
        text.push_str(" --parents");
    }
    for (flag, value) in [("chown", &copying.owner), ("chmod", &copying.mode)] {
        if let Some(value) = value {
            text.push_str(&format!(" --{flag}={value}"));
        }
    }
    copying.paths.iter().for_each(|(path, _)| text.push_str(&format!(" {path}")));
    copying.files.iter().for_each(|(name, _)| text.push_str(&format!(" <<{name}")));
    format!("{text} {} # buildkit", copying.destination)
}

/// Returns whether `path` is fetched by http.
pub(super) fn is_address(path: &str) -> bool {
    path.starts_with("http://") || path.starts_with("https://")
}

fn texts(templates: &[Template]) -> Vec<String> {
    templates.iter().map(|template| template.text.clone()).collect()
}

/// The actions of one file op, each upon the one before.
struct Actions {
    base: Option<Output>,
    inputs: Vec<Output>,
    copies: Vec<(Option<usize>, pb::FileActionCopy)>,
}

impl Actions {
    fn upon(base: Option<Output>) -> Self {
        Self { base, inputs: base.into_iter().collect(), copies: Vec::new() }
    }

    fn copy(&mut self, from: Option<Output>, copy: pb::FileActionCopy) {
        let from = from.map(|from| {
            self.inputs.iter().position(|input| *input == from).unwrap_or_else(|| {
                self.inputs.push(from);
                self.inputs.len() - 1
            })
        });
        self.copies.push((from, copy));
    }

    fn into_op(self) -> (pb::Kind, Vec<Output>) {
        let index = |position: usize| i64::try_from(position).expect("positions in memory are small");
        let last = self.copies.len().saturating_sub(1);
        let inputs = self.inputs.len();
        let first = if self.base.is_some() { 0 } else { pb::EMPTY };
        let action = |(position, (from, copy)): (usize, (Option<usize>, pb::FileActionCopy))| pb::FileAction {
            input: if position == 0 { first } else { index(inputs + position - 1) },
            secondary_input: from.map_or(pb::EMPTY, index),
            output: if position == last { 0 } else { pb::SKIP_OUTPUT },
            action: Some(pb::Action::Copy(copy)),
        };
        let actions = self.copies.into_iter().enumerate().map(action).collect();
        (pb::Kind::File(pb::FileOp { actions }), self.inputs)
    }
}
