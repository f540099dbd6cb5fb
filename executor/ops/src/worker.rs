//! What all operations of a build share: store, images, sandbox, network, the client's side.

use std::collections::{HashMap, HashSet};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

use rbuild_events::Reporter;
use rbuild_graph::pb;
use rbuild_images::Images;
use rbuild_network::{Network, Provider};
use rbuild_oci::Digest;
use rbuild_sandbox::Sandbox;
use rbuild_snapshot::{Active, Roots, Strategy};
use rbuild_solver::{Context, Solver};
use rbuild_store::{Ingest, Kind, LayerBlob, LayerId, NewLayer, Store, TreeBuild, TreeState};
use rbuild_tree::FileTree;
use rbuild_tree::context::{ContextIndex, scan};

use crate::OpsError;
use crate::build::{Admit, Nested};
use crate::device::{DeviceGrants, Registry};
use crate::file::{Draft, Empty, Owners, copy_all};
use crate::remains::{FailedPart, Remains};
use crate::session::Session;
use crate::source::resolved::Resolved;
use crate::value::{Local, Ref};

/// Threads that list a context.
const SCAN_THREADS: usize = 2;

/// What operations work with.
pub struct Worker {
    images: Images,
    roots: Roots,
    network: Arc<Provider>,
    default_network: Network,
    sandbox: OnceLock<Sandbox>,
    mount_points: OnceLock<PathBuf>,
    session: Arc<dyn Session>,
    devices: Devices,
    reporter: Arc<dyn Reporter>,
    warned: Mutex<HashSet<String>>,
    nested: Option<Nested>,
    /// Layers in a form that may be laid upon anything, by layers that steps wrote.
    portable: Mutex<HashMap<LayerId, LayerId>>,
    resolved: Resolved,
    /// Whether what failed steps leave is kept for whoever learns of the failure.
    keeps_remains: bool,
}

/// The devices that steps may have.
#[derive(Default)]
struct Devices {
    grants: DeviceGrants,
    directories: Vec<PathBuf>,
    registry: OnceLock<Registry>,
}

impl Worker {
    /// Joins the parts.
    pub fn new(
        images: Images,
        roots: Roots,
        network: Arc<Provider>,
        session: Arc<dyn Session>,
        reporter: Arc<dyn Reporter>,
    ) -> Self {
        let (sandbox, mount_points, warned) = (OnceLock::new(), OnceLock::new(), Mutex::default());
        let (devices, portable) = (Devices::default(), Mutex::default());
        Self {
            images,
            roots,
            network,
            default_network: Network::Isolated,
            sandbox,
            mount_points,
            session,
            devices,
            reporter,
            warned,
            nested: None,
            portable,
            resolved: Resolved::default(),
            keeps_remains: false,
        }
    }

    /// Keeps what failed steps leave: their errors have it.
    #[must_use]
    pub fn with_remains(mut self) -> Self {
        self.keeps_remains = true;
        self
    }

    pub(crate) fn keeps_remains(&self) -> bool {
        self.keeps_remains
    }

    /// Adds an input to the error of reading it, if that is wanted.
    pub(crate) fn unreadable(&self, error: OpsError, index: usize, value: &Ref) -> OpsError {
        if !self.keeps_remains {
            return error;
        }
        let (inputs, part) = (vec![Some(value.clone())], Some(FailedPart::Content(index)));
        error.leaving(Remains { inputs, mounts: Vec::new(), part })
    }

    /// Lets ops build what their inputs define, with `solver`. Each definition is shown to `admit` first, which
    /// returns the graph to be built: with sources as policies want them, and no privilege that was not granted.
    #[must_use]
    pub fn with_nested_builds(mut self, solver: Solver<Ref>, admit: Arc<Admit>) -> Self {
        self.nested = Some(Nested { solver, admit });
        self
    }

    pub(crate) fn nested(&self) -> Option<&Nested> {
        self.nested.as_ref()
    }

    /// Sets the network of steps that ask for none in particular.
    #[must_use]
    pub fn with_default_network(mut self, network: Network) -> Self {
        self.default_network = network;
        self
    }

    pub(crate) fn default_network(&self) -> Network {
        self.default_network
    }

    /// Lets steps have these devices, described in these directories (none is the usual places).
    #[must_use]
    pub fn with_devices(mut self, grants: DeviceGrants, directories: Vec<PathBuf>) -> Self {
        self.devices = Devices { grants, directories, registry: OnceLock::new() };
        self
    }

    /// Returns the devices that a step gets of those that it asks for.
    pub(crate) fn grant_devices(&self, asked: &[pb::CdiDevice]) -> Result<Vec<pb::CdiDevice>, OpsError> {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.devices.grants.resolve(asked, self.device_registry())?)
    }

    /// Returns what is described, read at the first call.
    pub(crate) fn device_registry(&self) -> &Registry {
        self.devices.registry.get_or_init(|| Registry::scan(&self.devices.directories))
    }

    /// Returns the images.
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// Returns who hears of progress.
    pub fn reporter(&self) -> &Arc<dyn Reporter> {
        &self.reporter
    }

    /// Returns what sources turned out to be so far.
    pub(crate) fn resolved(&self) -> &Resolved {
        &self.resolved
    }

    pub(crate) fn store(&self) -> &Store {
        self.images.store()
    }

    pub(crate) fn network(&self) -> &Provider {
        &self.network
    }

    /// Returns the client's side.
    pub fn session(&self) -> &dyn Session {
        &*self.session
    }

    /// Returns the sandbox, looking at the host at the first call.
    pub(crate) fn sandbox(&self) -> Result<&Sandbox, OpsError> {
        if let Some(sandbox) = self.sandbox.get() {
            return Ok(sandbox);
        }
        let sandbox = Sandbox::detect()?;
        Ok(self.sandbox.get_or_init(|| sandbox))
    }

    /// Returns a directory for temporary files.
    pub(crate) fn scratch(&self) -> Result<PathBuf, OpsError> {
        Ok(self.store().temp_dir()?.to_owned())
    }

    pub(crate) fn userxattr(&self) -> bool {
        matches!(self.roots.strategy, Strategy::Overlay { userxattr: true })
    }

    pub(crate) fn warn_once(&self, context: &Context, warning: &str) {
        if self.warned.lock().expect("no holder of this lock panics").insert(warning.to_owned()) {
            context.warn(warning);
        }
    }

    /// Returns a value as a tree to look into. Layers that are only at a registry are fetched, which whoever watches
    /// `context` sees: nobody pulls before somebody needs it, so it is the vertex in need that takes the time.
    pub(crate) fn tree(&self, context: &Context, value: &Ref) -> Result<Arc<dyn FileTree>, OpsError> {
        Ok(match value {
            Ref::Layers(layers) if layers.is_empty() => Arc::new(Empty),
            Ref::Layers(layers) => Arc::new(self.images.view(layers, context.reporter(), context.vertex())?),
            Ref::Local(local) => self.listing(local)?,
        })
    }

    /// Returns the surroundings of work that is no vertex of a graph.
    pub(crate) fn unwatched(&self) -> Context {
        Context::new(nobody(), "", self.reporter.clone(), SystemTime::now)
    }

    fn listing(&self, local: &Local) -> Result<Arc<rbuild_tree::context::Listing>, OpsError> {
        if let Some(listing) = local.listing.get() {
            return Ok(listing.clone());
        }
        let _one_at_a_time = local.scanning.lock().expect("no holder of this lock panics");
        if let Some(listing) = local.listing.get() {
            return Ok(listing.clone());
        }
        let index = ContextIndex::load(&self.index_path(&local.directory.path));
        let listing = Arc::new(scan(&local.directory.path, &local.ignore, index, SCAN_THREADS)?);
        Ok(local.listing.get_or_init(|| listing).clone())
    }

    fn index_path(&self, directory: &Path) -> PathBuf {
        let whole = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        let name = Digest::of(whole.as_os_str().as_encoded_bytes()).hex();
        self.store().contexts_dir().join(name)
    }

    /// Keeps what is known of the contents of a directory for the next build.
    pub(crate) fn remember(&self, value: &Ref) -> Result<(), OpsError> {
        let Ref::Local(local) = value else { return Ok(()) };
        if let Some(listing) = local.listing.get() {
            listing.save_index(&self.index_path(&local.directory.path))?;
        }
        Ok(())
    }

    /// Returns the directories of layers, bottom first. A layer that comes again, further up, hides its earlier
    /// place, and the kernel takes none twice. Transfers are shown as in [`tree`](Self::tree).
    pub(crate) fn trees(&self, context: &Context, layers: &[LayerId]) -> Result<Vec<PathBuf>, OpsError> {
        let mut seen = HashSet::new();
        let mut once: Vec<_> = layers.iter().rev().filter(|layer| seen.insert(**layer)).copied().collect();
        once.reverse();
        Ok(self.images.trees(&once, context.reporter(), context.vertex())?)
    }

    /// Writes a draft as a layer in blob form.
    pub(crate) fn write_layer(&self, draft: Draft, description: &str) -> Result<LayerId, OpsError> {
        self.write_layer_of(Kind::default(), draft, description)
    }

    /// Writes a draft as a layer in blob form, of a kind that `du` tells apart.
    pub(crate) fn write_layer_of(&self, kind: Kind, draft: Draft, description: &str) -> Result<LayerId, OpsError> {
        let ingest = self.store().blobs().ingest(None)?;
        let blob = self.keep_plain(draft.write(BufWriter::with_capacity(256 << 10, ingest))?)?;
        let diff_id = Some(rbuild_oci::DiffId(blob.descriptor.digest));
        let new = NewLayer { description: description.to_owned(), diff_id, kind };
        let layer = self.store().layers().create(&new)?;
        self.store().layers().add_blob(layer, &blob)?;
        Ok(layer)
    }

    /// Keeps a plain tar that was written.
    pub(crate) fn keep_plain(&self, written: BufWriter<Ingest>) -> Result<LayerBlob, OpsError> {
        let ingest = written.into_inner().map_err(|error| OpsError::io("writing a layer", error.into_error()))?;
        let size = ingest.written();
        let digest = ingest.commit()?;
        let descriptor = rbuild_oci::Descriptor::new(rbuild_oci::media_type::OCI_LAYER, digest, size);
        Ok(LayerBlob { descriptor, variant: "uncompressed".to_owned() })
    }

    /// Returns the form of a layer that may be laid upon anything, if it was made before.
    pub(crate) fn known_portable(&self, layer: LayerId) -> Option<LayerId> {
        self.portable.lock().expect("no holder of this lock panics").get(&layer).copied()
    }

    pub(crate) fn note_portable(&self, layer: LayerId, portable: LayerId) {
        self.portable.lock().expect("no holder of this lock panics").insert(layer, portable);
    }

    /// Returns a value as layers; a directory of the client becomes one. Blocks.
    ///
    /// # Errors
    /// If the directory cannot be read, or the layer not be written.
    pub fn layers(&self, value: &Ref) -> Result<Vec<LayerId>, OpsError> {
        let local = match value {
            Ref::Layers(layers) => return Ok(layers.clone()),
            Ref::Local(local) => local,
        };
        let tree: Arc<dyn FileTree> = self.listing(local)?;
        let _one_at_a_time = local.scanning.lock().expect("no holder of this lock panics");
        if let Some(layer) = local.layer.get() {
            return Ok(vec![*layer]);
        }
        let draft = copy_all(&tree, "", owners(value), &self.scratch()?)?;
        let layer = self.write_layer(draft, "load from client")?;
        Ok(vec![*local.layer.get_or_init(|| layer)])
    }

    /// Returns layers that hold the part of a directory that a mount shows.
    pub(crate) fn layers_of_context(
        &self,
        context: &Context,
        local: &Ref,
        selector: &str,
    ) -> Result<Vec<LayerId>, OpsError> {
        let tree = self.tree(context, local)?;
        let draft = copy_all(&tree, selector, owners(local), &self.scratch()?)?;
        Ok(vec![self.write_layer(draft, "part of a context for a mount")?])
    }

    /// Fills a new directory with what layers show.
    pub(crate) fn populate(&self, context: &Context, directory: &Path, layers: &[LayerId]) -> Result<(), OpsError> {
        let tree = self.tree(context, &Ref::Layers(layers.to_vec()))?;
        let draft = copy_all(&tree, "", Owners::Kept, &self.scratch()?)?;
        let file = tempfile::tempfile_in(self.scratch()?).map_err(|error| OpsError::io("making a file", error))?;
        let mut file = draft.write(file)?;
        std::io::Seek::rewind(&mut file).map_err(|error| OpsError::io("reading back a tar", error))?;
        rbuild_snapshot::unpack(file, directory, self.images.unpack_options())?;
        Ok(())
    }

    /// Makes a writable root upon layers' directories.
    pub(crate) fn prepare(&self, lowers: &[PathBuf], description: &str) -> Result<Writable, OpsError> {
        let layer =
            self.store().layers().create(&NewLayer { description: description.to_owned(), ..NewLayer::default() })?;
        let TreeState::Build(build) = self.store().layers().begin_tree(layer)? else {
            return Err(OpsError::Graph("a new layer has a tree already"));
        };
        let active = self.roots.prepare(&build.fs(), &build.work(), lowers)?;
        Ok(Writable { build, active })
    }

    /// Returns a layer of mount points to lie below all others, so that none must be made for a step.
    pub(crate) fn mount_points(&self) -> Result<PathBuf, OpsError> {
        if let Some(path) = self.mount_points.get() {
            return Ok(path.clone());
        }
        let path = self.scratch()?.join("mount-points");
        let made = std::fs::create_dir(&path).or_else(|error| if path.is_dir() { Ok(()) } else { Err(error) });
        made.and_then(|()| rbuild_sandbox::fill_mount_points(&path))
            .map_err(|error| OpsError::io("making mount points", error))?;
        Ok(self.mount_points.get_or_init(|| path).clone())
    }

    /// Keeps what a step wrote.
    pub(crate) fn commit(&self, writable: Writable) -> Result<LayerId, OpsError> {
        let Writable { build, active } = writable;
        let layer = build.layer();
        active.commit()?;
        let size = rbuild_store::disk_usage(&build.fs())?;
        let tree = build.finish(size, None)?;
        self.images.note_tree(layer, tree.path);
        Ok(layer)
    }
}

/// A layer that a step writes to.
pub(crate) struct Writable {
    /// Dropped first: it may be mounted in the other's directory.
    active: Active,
    build: TreeBuild,
}

impl Writable {
    /// Returns the directory that takes the changes.
    pub(crate) fn upper(&self) -> PathBuf {
        self.active.upper.clone()
    }

    /// Returns overlay's work directory.
    pub(crate) fn work(&self) -> PathBuf {
        self.active.work.clone()
    }

    /// Returns the directories below, the topmost first; none if the directory that is written to is
    /// the whole root.
    pub(crate) fn lowers(&self) -> Vec<PathBuf> {
        self.active.lowers.iter().rev().cloned().collect()
    }
}

/// Returns whose the files of a directory of the client become in a layer.
fn owners(local: &Ref) -> Owners {
    if local.is_in_place() { Owners::Root } else { Owners::Kept }
}

/// The vertex of work that a client asks for beside its graphs.
pub(crate) fn nobody() -> Digest {
    Digest::of(b"")
}

/// A copy of everything below a path, to the same path.
pub(crate) fn whole(selector: &str) -> pb::FileActionCopy {
    pb::FileActionCopy {
        src: format!("/{selector}"),
        dest: format!("/{selector}"),
        mode: -1,
        timestamp: -1,
        follow_symlink: true,
        dir_copy_contents: true,
        create_dest_path: true,
        ..pb::FileActionCopy::default()
    }
}
