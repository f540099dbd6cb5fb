//! From a loaded graph to the solver's: each vertex gets the operation that carries it out.

use std::sync::Arc;

use rbuild_graph::{Graph, Vertex, pb, source};
use rbuild_oci::{Digest, Platform};
use rbuild_solver::{Edge, Node, Operation};

use crate::OpsError;
use crate::build::BuildOperation;
use crate::exec::ExecOperation;
use crate::file::FileOperation;
use crate::layering::{DiffOperation, MergeOperation, PassthroughOperation};
use crate::session::LocalRequest;
use crate::source::{BlobSource, GitSource, HttpSource, ImageSource, LayoutSource, LocalSource};
use crate::value::Ref;
use crate::worker::Worker;

/// Returns the solver's graph of `graph`.
///
/// # Errors
/// If a vertex contradicts itself, or asks for something that this version cannot do.
pub fn resolve(graph: &Graph, worker: &Arc<Worker>) -> Result<rbuild_solver::Graph<Ref>, OpsError> {
    resolve_at(graph, worker, 0)
}

/// Returns the solver's graph of one that `depth` builds lie around.
pub(crate) fn resolve_at(
    graph: &Graph,
    worker: &Arc<Worker>,
    depth: usize,
) -> Result<rbuild_solver::Graph<Ref>, OpsError> {
    let mut solver = rbuild_solver::Graph::new();
    for vertex in graph.vertices() {
        let inputs = vertex.inputs.iter().map(|edge| Edge { vertex: edge.vertex, output: edge.output });
        solver.insert(Node {
            digest: vertex.digest,
            name: vertex.name.clone(),
            inputs: inputs.collect(),
            ignore_cache: vertex.metadata.ignore_cache,
            scope: scope(vertex, worker)?,
            operation: operation(vertex, worker, depth)?,
        });
    }
    Ok(solver)
}

/// What only one client has is another thing for another client, even if the graph calls them the same: its
/// directories, and whatever it may give secrets for.
fn scope(vertex: &Vertex, worker: &Arc<Worker>) -> Result<Option<Digest>, OpsError> {
    let of = |session: Option<&String>| {
        worker.session().scope(&LocalRequest { session: session.cloned(), ..LocalRequest::default() })
    };
    Ok(match vertex.kind() {
        pb::Kind::Source(op) => {
            let is = |scheme: &str| op.identifier.starts_with(scheme);
            if is(source::LOCAL) {
                return Ok(LocalSource::new(worker.clone(), op)?.scope());
            }
            let asks = [source::GIT, source::HTTP, source::HTTPS, source::OCI_LAYOUT, source::OCI_LAYOUT_BLOB];
            match asks.into_iter().any(is) {
                true => of(op.attrs.get(source::attr::OCI_LAYOUT_SESSION_ID)),
                false => None,
            }
        }
        pb::Kind::Exec(op) => {
            let secret = |mount: &pb::Mount| {
                [pb::MountType::Secret as i32, pb::MountType::Ssh as i32].contains(&mount.mount_type)
            };
            let asks = !op.secretenv.is_empty() || op.mounts.iter().any(secret);
            if asks { of(None) } else { None }
        }
        // What it defines may be any of these.
        pb::Kind::Build(_) => of(None),
        _ => None,
    })
}

fn operation(vertex: &Vertex, worker: &Arc<Worker>, depth: usize) -> Result<Arc<dyn Operation<Ref>>, OpsError> {
    let inputs = vertex.inputs.len();
    let worker = worker.clone();
    Ok(match vertex.kind() {
        pb::Kind::Source(op) => source_operation(op, vertex, worker)?,
        pb::Kind::Exec(op) => Arc::new(ExecOperation {
            op: Arc::new(pb::ExecOp { cdi_devices: worker.grant_devices(&op.cdi_devices)?, ..op.clone() }),
            worker,
            platform: platform(vertex),
            inputs,
            resources: vertex.metadata.linux_resources.clone(),
            ignore_cache: vertex.metadata.ignore_cache,
        }),
        pb::Kind::File(op) => Arc::new(FileOperation { worker, op: Arc::new(op.clone()), inputs }),
        pb::Kind::Merge(op) => Arc::new(MergeOperation { worker, op: Arc::new(op.clone()), inputs }),
        pb::Kind::Diff(op) => Arc::new(DiffOperation { worker, op: Arc::new(op.clone()), inputs }),
        pb::Kind::Build(op) => Arc::new(BuildOperation::new(worker, op, inputs, depth)?),
        pb::Kind::Passthrough(op) => Arc::new(PassthroughOperation { op: Arc::new(op.clone()), inputs }),
    })
}

/// Returns the platform of a vertex in its normal form, whatever words the client has for it.
fn platform(vertex: &Vertex) -> Option<Platform> {
    vertex.platform().filter(|platform| !platform.os.is_empty()).map(Platform::normalise)
}

fn source_operation(
    op: &pb::SourceOp,
    vertex: &Vertex,
    worker: Arc<Worker>,
) -> Result<Arc<dyn Operation<Ref>>, OpsError> {
    let is = |scheme: &str| op.identifier.starts_with(scheme);
    if is(source::DOCKER_IMAGE) {
        return Ok(Arc::new(ImageSource::new(worker, op, platform(vertex))?));
    }
    if is(source::LOCAL) {
        return Ok(Arc::new(LocalSource::new(worker, op)?));
    }
    if is(source::GIT) {
        return Ok(Arc::new(GitSource::new(worker, op)?));
    }
    if is(source::HTTP) || is(source::HTTPS) {
        return Ok(Arc::new(HttpSource::new(worker, op)?));
    }
    if is(source::OCI_LAYOUT) {
        return Ok(Arc::new(LayoutSource::new(worker, op, platform(vertex))?));
    }
    if is(source::DOCKER_IMAGE_BLOB) || is(source::OCI_LAYOUT_BLOB) {
        return Ok(Arc::new(BlobSource::new(worker, op)?));
    }
    Err(OpsError::Source { identifier: op.identifier.clone(), reason: "unknown scheme".to_owned() })
}
