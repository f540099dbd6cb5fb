//! The file op: its cache key and its run.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use prost::Message as _;
use rbuild_graph::{Operand, pb};
use rbuild_oci::Digest;
use rbuild_solver::{CacheMap, Context, InputMap, Operation, OperationError};
use rbuild_tree::content::{self, Owner, Selection};
use rbuild_tree::pattern::Matcher;
use rbuild_tree::select::Filter;
use rbuild_tree::{FileTree, Time, TreeError};

use super::copy::Copy;
use super::owner::resolve_owner;
use super::{Draft, Empty, FileError, Owners, action, rooted};
use crate::remains::{FailedPart, Remains};
use crate::value::Ref;
use crate::worker::Worker;
use crate::{OpsError, blocking};

/// A file op ready to run.
pub(crate) struct FileOperation {
    pub(crate) worker: Arc<Worker>,
    pub(crate) op: Arc<pb::FileOp>,
    pub(crate) inputs: usize,
}

impl FileOperation {
    /// Whether input `index` is only copied from, so that its content is all that matters.
    fn only_source(&self, index: usize) -> bool {
        let is = |operand: i64| Operand::of(operand, self.inputs) == Operand::Input(index);
        let named = |user: &Option<pb::UserOpt>| match user.as_ref().and_then(|user| user.user.as_ref()) {
            Some(pb::User::ByName(named)) => is(named.input),
            _ => false,
        };
        let owned = |owner: Option<&pb::ChownOpt>| owner.is_some_and(|owner| named(&owner.user) || named(&owner.group));
        self.op.actions.iter().all(|action| !is(action.input) && !owned(owner(action)))
    }

    /// Returns the copies that read input `index`.
    fn copies(&self, index: usize) -> impl Iterator<Item = &pb::FileActionCopy> {
        self.op.actions.iter().filter_map(move |action| match &action.action {
            Some(pb::Action::Copy(copy))
                if Operand::of(action.secondary_input, self.inputs) == Operand::Input(index) =>
            {
                Some(copy)
            }
            _ => None,
        })
    }

    /// The op's own key: what it does, but of the names of sources only the last part, since where a
    /// file comes from does not change what is made of it.
    fn key(&self) -> Digest {
        let mut op = (*self.op).clone();
        for action in &mut op.actions {
            let from_content = match Operand::of(action.secondary_input, self.inputs) {
                Operand::Input(index) => self.only_source(index),
                _ => false,
            };
            if let (true, Some(pb::Action::Copy(copy))) = (from_content, &mut action.action) {
                let name = rooted(&copy.src);
                copy.src = name.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            }
        }
        let mut bytes = b"rbuild.file.v1\0".to_vec();
        bytes.extend_from_slice(&(self.inputs as u64).to_le_bytes());
        op.encode(&mut bytes).expect("a vector takes any length");
        Digest::of(&bytes)
    }
}

fn owner(action: &pb::FileAction) -> Option<&pb::ChownOpt> {
    match action.action.as_ref()? {
        pb::Action::Copy(copy) => copy.owner.as_ref(),
        pb::Action::Mkfile(mkfile) => mkfile.owner.as_ref(),
        pb::Action::Mkdir(mkdir) => mkdir.owner.as_ref(),
        pb::Action::Symlink(symlink) => symlink.owner.as_ref(),
        pb::Action::Rm(_) => None,
    }
}

#[async_trait]
impl Operation<Ref> for FileOperation {
    async fn cache_map(&self, _: &Context) -> Result<CacheMap, OperationError> {
        let input = |index: usize| {
            if !self.only_source(index) {
                return InputMap::default();
            }
            let mut bytes = Vec::new();
            for copy in self.copies(index) {
                let path = rooted(&copy.src);
                bytes.extend_from_slice(path.as_os_str().as_encoded_bytes());
                bytes.push(0);
                bytes.extend_from_slice(&[u8::from(copy.allow_wildcard), u8::from(copy.follow_symlink)]);
                for pattern in copy.exclude_patterns.iter().chain(&copy.include_patterns) {
                    bytes.extend_from_slice(pattern.as_bytes());
                    bytes.push(0);
                }
            }
            InputMap { selector: Some(Digest::of(&bytes)), content: true }
        };
        Ok(CacheMap::new(self.key(), (0..self.inputs).map(input).collect()))
    }

    async fn content_key(
        &self,
        context: &Context,
        index: usize,
        value: &Ref,
    ) -> Result<Option<Digest>, OperationError> {
        // Nothing can be looked at in nothing: what is copied from it is missed when it is copied.
        if matches!(value, Ref::Layers(layers) if layers.is_empty()) {
            return Ok(None);
        }
        let (worker, context, value) = (self.worker.clone(), context.clone(), value.clone());
        let copies: Vec<_> = self.copies(index).cloned().collect();
        let digest = blocking(move || {
            let digest = || {
                let tree = worker.tree(&context, &value)?;
                let filters: Vec<_> = copies.iter().map(Filters::new).collect::<Result<_, _>>()?;
                let selections: Vec<_> =
                    copies.iter().zip(&filters).map(|(copy, filters)| filters.select(copy)).collect();
                let owner = if value.is_in_place() { Owner::Root } else { Owner::Kept };
                let digest = content::digest(&*tree, &selections, owner)?;
                worker.remember(&value)?;
                Ok::<_, OpsError>(digest)
            };
            digest().map_err(|error| worker.unreadable(error, index, &value))
        });
        Ok(Some(digest.await?))
    }

    async fn run(&self, context: &Context, inputs: Vec<Ref>) -> Result<Vec<Ref>, OperationError> {
        let (worker, op) = (self.worker.clone(), self.op.clone());
        let context = context.clone();
        Ok(blocking(move || Run::new(&worker, &context, &op, &inputs)?.finish()).await?)
    }
}

/// The patterns of a copy.
struct Filters {
    include: Option<Matcher>,
    exclude: Option<Matcher>,
}

impl Filters {
    fn new(copy: &pb::FileActionCopy) -> Result<Self, TreeError> {
        let matcher = |patterns: &[String]| -> Result<Option<Matcher>, TreeError> {
            if patterns.is_empty() { Ok(None) } else { Ok(Some(Matcher::new(patterns)?)) }
        };
        Ok(Self { include: matcher(&copy.include_patterns)?, exclude: matcher(&copy.exclude_patterns)? })
    }

    fn select(&self, copy: &pb::FileActionCopy) -> Selection<'_> {
        let path = rooted(&copy.src).to_string_lossy().into_owned();
        let filter = Filter { include: self.include.as_ref(), exclude: self.exclude.as_ref() };
        Selection { path, wildcard: copy.allow_wildcard, follow: copy.follow_symlink, filter }
    }
}

/// What an action starts from or leads to.
#[derive(Clone)]
struct State {
    draft: Arc<Draft>,
    below: Vec<rbuild_store::LayerId>,
}

/// A file op on its way.
struct Run<'a> {
    worker: &'a Arc<Worker>,
    context: &'a Context,
    op: &'a pb::FileOp,
    trees: Vec<Arc<dyn FileTree>>,
    inputs: &'a [Ref],
    results: Vec<Option<State>>,
}

impl<'a> Run<'a> {
    fn new(
        worker: &'a Arc<Worker>,
        context: &'a Context,
        op: &'a pb::FileOp,
        inputs: &'a [Ref],
    ) -> Result<Self, OpsError> {
        let trees = inputs.iter().map(|input| worker.tree(context, input)).collect::<Result<_, _>>()?;
        let now = context.now().duration_since(std::time::UNIX_EPOCH);
        let now = Time::from_seconds(now.map_or(0, |since| since.as_secs() as i64));
        let mut run = Self { worker, context, op, trees, inputs, results: Vec::new() };
        for index in 0..op.actions.len() {
            let mut failed = None;
            let state = run.act(index, now, &mut failed);
            run.results.push(Some(state.map_err(|error| run.leaving(error, index, failed))?));
        }
        Ok(run)
    }

    /// Returns what an action changes; an earlier result that nobody else needs is taken.
    fn base(&mut self, index: usize) -> Result<State, OpsError> {
        Ok(match Operand::of(self.op.actions[index].input, self.inputs.len()) {
            Operand::Scratch => State { draft: Arc::new(Draft::new(Arc::new(Empty))), below: Vec::new() },
            Operand::Input(input) => {
                let below = self.worker.layers(&self.inputs[input])?;
                let tree = match &self.inputs[input] {
                    Ref::Layers(_) => self.trees[input].clone(),
                    Ref::Local(_) => self.worker.tree(self.context, &Ref::Layers(below.clone()))?,
                };
                State { draft: Arc::new(Draft::new(tree)), below }
            }
            Operand::Action(earlier) => {
                let needed = self.op.actions[earlier].output >= 0 || self.used_later(earlier, index);
                let state = if needed { self.results[earlier].clone() } else { self.results[earlier].take() };
                state.ok_or(OpsError::Graph("a file action uses a result that is not there"))?
            }
        })
    }

    fn used_later(&self, earlier: usize, index: usize) -> bool {
        let inputs = self.inputs.len();
        let is = |operand: i64| Operand::of(operand, inputs) == Operand::Action(earlier);
        let later = self.op.actions[index + 1..].iter().any(|action| is(action.input) || is(action.secondary_input));
        later || is(self.op.actions[index].secondary_input)
    }

    fn source(&self, index: usize) -> Result<(Arc<dyn FileTree>, Owners), OpsError> {
        Ok(match Operand::of(self.op.actions[index].secondary_input, self.inputs.len()) {
            Operand::Scratch => (Arc::new(Empty), Owners::Kept),
            Operand::Input(input) => {
                let owners = if self.inputs[input].is_in_place() { Owners::Root } else { Owners::Kept };
                (self.trees[input].clone(), owners)
            }
            Operand::Action(earlier) => {
                let state = self.results[earlier].as_ref();
                let state = state.ok_or(OpsError::Graph("a copy reads a result that is not there"))?;
                (state.draft.clone(), Owners::Kept)
            }
        })
    }

    /// Carries an action out; `failed` gets what it had changed by the time it failed.
    fn act(&mut self, index: usize, now: Time, failed: &mut Option<State>) -> Result<State, OpsError> {
        let State { draft, below } = self.base(index)?;
        let mut draft = Arc::try_unwrap(draft).unwrap_or_else(|shared| (*shared).clone());
        let done = self.change(index, now, &mut draft);
        let state = State { draft: Arc::new(draft), below };
        match done {
            Ok(()) => Ok(state),
            Err(error) => {
                *failed = Some(state);
                Err(error)
            }
        }
    }

    /// Adds what is left to an error, if that is wanted: what the action was to change, and what it was to copy from.
    fn leaving(&self, error: OpsError, index: usize, failed: Option<State>) -> OpsError {
        if !self.worker.keeps_remains() {
            return error;
        }
        let inputs = self.inputs.iter().cloned().map(Some).collect();
        let mut mounts = vec![None; self.op.actions.len()];
        mounts[index] = failed.and_then(|state| self.write(&state).ok());
        if let Operand::Action(earlier) = Operand::of(self.op.actions[index].secondary_input, self.inputs.len())
            && let Some(Some(state)) = self.results.get(earlier)
        {
            mounts[earlier] = self.write(state).ok();
        }
        error.leaving(Remains { inputs, mounts, part: Some(FailedPart::Action(index)) })
    }

    fn write(&self, state: &State) -> Result<Ref, OpsError> {
        let layer = self.worker.write_layer((*state.draft).clone(), self.context.name())?;
        Ok(Ref::Layers(state.below.iter().copied().chain([layer]).collect()))
    }

    fn change(&self, index: usize, now: Time, draft: &mut Draft) -> Result<(), OpsError> {
        let file_action = &self.op.actions[index];
        let owner = {
            let tree = |operand: i64| match Operand::of(operand, self.inputs.len()) {
                Operand::Input(input) => Some(&*self.trees[input]),
                Operand::Action(earlier) => self.results[earlier].as_ref().map(|state| &*state.draft as &dyn FileTree),
                Operand::Scratch => None,
            };
            resolve_owner(owner(file_action), &tree).map_err(FileError::from)?
        };
        match file_action.action.as_ref() {
            Some(pb::Action::Copy(copy)) => {
                let (source, source_owners) = self.source(index)?;
                let scratch: PathBuf = self.worker.scratch()?;
                let copy = Copy { action: copy, owner, source_owners, scratch: &scratch };
                copy.run(&source, draft)?;
            }
            Some(pb::Action::Mkdir(mkdir)) => action::mkdir(draft, mkdir, owner, now)?,
            Some(pb::Action::Mkfile(mkfile)) => action::mkfile(draft, mkfile, owner, now)?,
            Some(pb::Action::Symlink(symlink)) => action::symlink(draft, symlink, owner, now)?,
            Some(pb::Action::Rm(rm)) => action::rm(draft, rm)?,
            None => return Err(OpsError::Graph("a file action without an action")),
        }
        Ok(())
    }

    /// Writes the layers of the outputs.
    fn finish(mut self) -> Result<Vec<Ref>, OpsError> {
        let outputs = self.op.actions.iter().map(|action| action.output + 1).max().unwrap_or(0);
        let mut refs: Vec<Option<Ref>> = vec![None; usize::try_from(outputs).unwrap_or(0)];
        for index in 0..self.op.actions.len() {
            let Ok(output) = usize::try_from(self.op.actions[index].output) else { continue };
            let state = self.results[index].take().ok_or(OpsError::Graph("an output is not there"))?;
            let draft = Arc::try_unwrap(state.draft).unwrap_or_else(|shared| (*shared).clone());
            let layer = self.worker.write_layer(draft, self.context.name())?;
            let layers = state.below.into_iter().chain([layer]).collect();
            refs[output] = Some(Ref::Layers(layers));
        }
        let missing = OpsError::Graph("an output that no action makes");
        refs.into_iter().collect::<Option<_>>().ok_or(missing)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rbuild_tree::Metadata;

    use super::super::draft::Body;
    use super::*;
    use crate::source::testing::{Client, Place};

    fn copy(src: &str, dest: &str) -> pb::FileActionCopy {
        pb::FileActionCopy { src: src.into(), dest: dest.into(), ..pb::FileActionCopy::default() }
    }

    fn by_name(name: &str) -> Option<pb::ChownOpt> {
        let named = pb::NamedUserOpt { name: name.into(), input: 0 };
        let user = Some(pb::UserOpt { user: Some(pb::User::ByName(named)) });
        Some(pb::ChownOpt { user, group: None })
    }

    // items: K004
    #[tokio::test]
    async fn k004_names_of_directories_do_not_count() {
        let place = Place::new();
        let worker = place.worker(Client::default());
        let operation = |copy: pb::FileActionCopy| {
            let action = Some(pb::Action::Copy(copy));
            let action = pb::FileAction { input: 0, secondary_input: 1, output: 0, action };
            let op = Arc::new(pb::FileOp { actions: vec![action] });
            FileOperation { worker: worker.clone(), op, inputs: 2 }
        };
        let key = |copy| operation(copy).key();
        let one = key(copy("/dir/a", "/x"));
        assert_eq!(one, key(copy("/other/deep/a", "/x")), "where the source comes from");
        assert_ne!(one, key(copy("/dir/b", "/x")), "its own name, which may become that of the copy");
        assert_ne!(one, key(copy("/dir/a", "/y")));
        assert_ne!(one, key(pb::FileActionCopy { mode: 0o600, ..copy("/dir/a", "/x") }));
        let named = operation(pb::FileActionCopy { owner: by_name("app"), ..copy("/dir/a", "/x") });
        assert!(!named.only_source(0) && named.only_source(1), "users are those of the stage that is copied to");
    }

    // items: K005
    #[test]
    fn k005_owners_count_and_times_do_not() {
        let digest = |metadata: Metadata, owner| {
            let mut draft = Draft::new(Arc::new(Empty));
            draft.put(Path::new("f"), metadata, Body::None, None).unwrap();
            content::digest(&draft, &[rbuild_tree::content::Selection::new("f")], owner).unwrap()
        };
        let plain = Metadata::file(0);
        let owned = Metadata { uid: 1, ..plain.clone() };
        let late = Metadata { mtime: Time::from_seconds(9), ..plain.clone() };
        assert_ne!(digest(plain.clone(), Owner::Kept), digest(owned.clone(), Owner::Kept));
        assert_eq!(digest(plain.clone(), Owner::Root), digest(owned, Owner::Root), "files of contexts are root's");
        assert_eq!(digest(plain, Owner::Kept), digest(late, Owner::Kept));
    }
}
