//! The mounts of a step: inputs, caches, memory, secrets, agents.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild_graph::{Operand, pb};
use rbuild_oci::Digest;
use rbuild_sandbox::{BindSource, Handle, Mount, MountKind, Sensitive, Upper, within_root};
use rbuild_store::{CacheMount, CacheMountRequest, LayerId, Sharing};
use rbuild_sys::root::{Last, Root};
use rbuild_tree::content::{self, Owner, Selection};

use super::given::Given;
use super::run::Step;
use crate::OpsError;
use crate::file::rooted;
use crate::ssh::AgentProxy;
use crate::value::Ref;
use crate::worker::Writable;

/// What a step's mounts need, and what must live as long as it runs.
#[derive(Default)]
pub(crate) struct Mounts {
    pub(crate) mounts: Vec<Mount>,
    pub(crate) handles: Vec<OwnedFd>,
    pub(crate) env: Vec<String>,
    /// Mounts that are outputs: output, layers below, and what is written unless the mount is read-only.
    pub(crate) outputs: Vec<(usize, Vec<LayerId>, Option<Writable>)>,
    /// Other mounts that are written to and kept if the step fails: where they are, layers below, and what is written.
    pub(crate) spare: Vec<(String, Vec<LayerId>, Writable)>,
    /// Directories that each mount shows, bottom first and as overlayfs has them, by where it is.
    pub(crate) shown: HashMap<String, Vec<PathBuf>>,
    /// The working directory, from which targets are looked for that are not absolute.
    directory: PathBuf,
    caches: Vec<Arc<CacheMount>>,
    agents: Vec<AgentProxy>,
    discarded: Vec<tempfile::TempDir>,
}

impl Mounts {
    /// Prepares all mounts but the root.
    pub(crate) fn prepare(step: &Step, inputs: &[Ref]) -> Result<Self, OpsError> {
        let directory = step.op.meta.as_ref().map(|meta| within_root(Path::new(&meta.cwd))).unwrap_or_default();
        let mut mounts = Self { directory, caches: acquire_caches(step, inputs)?, ..Self::default() };
        let mut caches = mounts.caches.clone().into_iter();
        for mount in step.op.mounts.iter().filter(|mount| mount.dest != pb::ROOT_MOUNT) {
            mounts.add(step, inputs, mount, &mut caches)?;
        }
        // A mount that lies in another comes after it, in whatever order the client has them.
        mounts.mounts.sort_by(|one, other| one.target.cmp(&other.target));
        for secret in &step.op.secretenv {
            mounts.env.push(secret_variable(&step.given, secret)?);
        }
        Ok(mounts)
    }

    fn add(
        &mut self,
        step: &Step,
        inputs: &[Ref],
        mount: &pb::Mount,
        caches: &mut dyn Iterator<Item = Arc<CacheMount>>,
    ) -> Result<(), OpsError> {
        match mount.mount_type() {
            pb::MountType::Bind => self.bind(step, inputs, mount),
            pb::MountType::Cache => self.cache(mount, &caches.next().expect("one was taken for each")),
            pb::MountType::Tmpfs => {
                let size = mount.tmpfs_opt.and_then(|tmpfs| u64::try_from(tmpfs.size).ok()).filter(|size| *size > 0);
                self.shown.insert(mount.dest.clone(), Vec::new());
                self.push(mount, MountKind::Tmpfs { size, mode: 0o1777, owner: (0, 0) }, false, true);
                Ok(())
            }
            pb::MountType::Secret => self.secret(step, mount),
            pb::MountType::Ssh => self.ssh(step, mount),
        }
    }

    fn push(&mut self, mount: &pb::Mount, kind: MountKind, readonly: bool, exec: bool) {
        self.mounts.push(Mount { target: within_root(&self.directory.join(&mount.dest)), kind, readonly, exec });
    }

    fn handle(&mut self, fd: OwnedFd) -> BindSource {
        self.handles.push(fd);
        BindSource::Handle(Handle(self.handles.len() - 1))
    }

    /// Returns the layers that a mount shows; those of a context are made for it, of all of it if the mount is an
    /// output.
    fn layers(step: &Step, inputs: &[Ref], mount: &pb::Mount) -> Result<Vec<LayerId>, OpsError> {
        match Operand::of(mount.input, inputs.len()) {
            Operand::Scratch => Ok(Vec::new()),
            Operand::Input(input) => match &inputs[input] {
                Ref::Layers(layers) => Ok(layers.clone()),
                local @ Ref::Local(_) if mount.output >= 0 => step.worker.layers(local),
                local @ Ref::Local(_) => step.worker.layers_of_context(&step.context, local, &mount.selector),
            },
            Operand::Action(_) => Err(OpsError::Graph("a mount names an input that is not there")),
        }
    }

    fn bind(&mut self, step: &Step, inputs: &[Ref], mount: &pb::Mount) -> Result<(), OpsError> {
        let layers = Self::layers(step, inputs, mount)?;
        let lowers = step.worker.trees(&step.context, &layers)?;
        let (mut upper, mut shown): (_, Vec<_>) = (None, lowers.iter().rev().cloned().collect());
        if let (Ok(output), true) = (usize::try_from(mount.output), mount.readonly) {
            self.outputs.push((output, layers, None));
        } else if let Ok(output) = usize::try_from(mount.output) {
            let writable = step.worker.prepare(&lowers, step.context.name())?;
            upper = Some(Upper { upper: writable.upper(), work: writable.work(), volatile: true });
            shown = writable.lowers();
            self.outputs.push((output, layers, Some(writable)));
        } else if !mount.readonly && step.worker.keeps_remains() {
            let writable = step.worker.prepare(&lowers, step.context.name())?;
            upper = Some(Upper { upper: writable.upper(), work: writable.work(), volatile: true });
            shown = writable.lowers();
            self.spare.push((mount.dest.clone(), layers, writable));
        } else if !mount.readonly {
            let scratch = tempfile::Builder::new().prefix("mount-").tempdir_in(step.worker.scratch()?);
            let scratch = scratch.map_err(|error| OpsError::io("making a directory for a mount", error))?;
            upper = Some(discarded_upper(scratch.path())?);
            self.discarded.push(scratch);
        }
        let written = upper.iter().map(|upper: &Upper| upper.upper.clone());
        self.shown.insert(mount.dest.clone(), shown.iter().rev().cloned().chain(written).collect());
        let userxattr = step.worker.userxattr();
        let kind = MountKind::Layers { lowers: shown, selector: rooted(&mount.selector), upper, userxattr };
        self.push(mount, kind, mount.readonly, true);
        Ok(())
    }

    fn cache(&mut self, mount: &pb::Mount, cache: &CacheMount) -> Result<(), OpsError> {
        // The selector is resolved inside the cache: a link in it leads nowhere else (CVE-2024-9675).
        let root = Root::open(&cache.path()).map_err(|error| OpsError::io("opening a cache mount", error))?;
        let selected = root.lookup(&rooted(&mount.selector), Last::Follow);
        let selected = selected.map_err(|error| OpsError::Selector { path: mount.selector.clone(), source: error })?;
        let source = self.handle(selected);
        self.shown.insert(mount.dest.clone(), vec![cache.path()]);
        self.push(mount, MountKind::Bind { source, recursive: false, nosuid: false }, mount.readonly, true);
        Ok(())
    }

    fn secret(&mut self, step: &Step, mount: &pb::Mount) -> Result<(), OpsError> {
        let options = mount.secret_opt.clone().unwrap_or_default();
        let Some(content) = step.given.secret_of(&options.id, options.optional)? else { return Ok(()) };
        let mode = if options.mode == 0 { 0o400 } else { options.mode & 0o777 };
        let kind = MountKind::Secret { content: Sensitive(content.to_vec()), mode, owner: (options.uid, options.gid) };
        self.push(mount, kind, true, mode & 0o111 != 0);
        Ok(())
    }

    fn ssh(&mut self, step: &Step, mount: &pb::Mount) -> Result<(), OpsError> {
        let options = mount.ssh_opt.clone().unwrap_or_default();
        let Some(agent) = step.given.agent_of(mount)?.cloned() else { return Ok(()) };
        let mode = if options.mode == 0 { 0o600 } else { options.mode & 0o777 };
        let proxy = AgentProxy::start(agent, &step.worker.scratch()?, (options.uid, options.gid), mode);
        let proxy = proxy.map_err(|error| OpsError::io("offering an ssh agent", error))?;
        let source = BindSource::Path(proxy.socket());
        self.push(mount, MountKind::Bind { source, recursive: false, nosuid: false }, true, false);
        self.agents.push(proxy);
        Ok(())
    }
}

/// Returns the variable of a secret.
pub(super) fn secret_variable(given: &Given, secret: &pb::SecretEnv) -> Result<String, OpsError> {
    // One that is not there and need not be is an empty variable, which hides what ENV says.
    let content = given.secret_of(&secret.id, secret.optional)?.unwrap_or_default();
    let value = std::str::from_utf8(content).map_err(|_| OpsError::SecretText(secret.id.clone()))?;
    Ok(format!("{}={value}", secret.name))
}

/// Takes the cache mounts of a step, in their order, all at once so that no two steps wait for each other.
fn acquire_caches(step: &Step, inputs: &[Ref]) -> Result<Vec<Arc<CacheMount>>, OpsError> {
    let mut requests = Vec::new();
    let mut seeds = HashMap::new();
    for mount in step.op.mounts.iter().filter(|mount| mount.mount_type() == pb::MountType::Cache) {
        let options = mount.cache_opt.clone().unwrap_or_default();
        let layers = Mounts::layers(step, inputs, mount)?;
        let mut id = options.id.clone();
        if !layers.is_empty() {
            id = format!("{id}:{}", base_digest(step, &layers)?);
        }
        let sharing = match options.sharing() {
            pb::CacheSharing::Shared => Sharing::Shared,
            pb::CacheSharing::Private => Sharing::Private,
            pb::CacheSharing::Locked => Sharing::Locked,
        };
        seeds.insert(id.clone(), layers);
        requests.push(CacheMountRequest { id, sharing, reset: step.ignore_cache });
    }
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    let seed = |request: &CacheMountRequest, directory: &Path| {
        let layers = seeds.get(&request.id).map(Vec::as_slice).unwrap_or_default();
        if !layers.is_empty() {
            step.worker.populate(&step.context, directory, layers).map_err(|error| {
                let source = std::io::Error::other(error.to_string());
                rbuild_store::Error::File { action: "filling", path: directory.to_owned(), source }
            })?;
        }
        Ok::<_, rbuild_store::Error>(())
    };
    Ok(step.worker.store().cache_mounts().acquire(&requests, seed)?)
}

/// A cache that begins as a copy of something is another one for each something.
fn base_digest(step: &Step, layers: &[LayerId]) -> Result<Digest, OpsError> {
    let tree = step.worker.tree(&step.context, &Ref::Layers(layers.to_vec()))?;
    let all = Selection { wildcard: false, ..Selection::new("") };
    Ok(content::digest(&*tree, &[all], Owner::Kept)?)
}

fn discarded_upper(scratch: &Path) -> Result<Upper, OpsError> {
    let make = |name: &str| -> Result<PathBuf, OpsError> {
        let path = scratch.join(name);
        std::fs::create_dir(&path).map_err(|error| OpsError::io("making a directory for a mount", error))?;
        Ok(path)
    };
    Ok(Upper { upper: make("upper")?, work: make("work")?, volatile: true })
}
