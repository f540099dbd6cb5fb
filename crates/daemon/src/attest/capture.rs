//! What a graph takes from outside, read off its vertices and what their sources turned out to be.

use std::collections::BTreeMap;

use rbuild_export::provenance::{BlobSource, Capture, GitSource, HttpSource, ImageSource, Secret};
use rbuild_graph::source::{self, attr};
use rbuild_graph::{Graph, Vertex, pb};
use rbuild_oci::{Digest, Reference};

/// The secrets and the agent that the attributes of a repository may name.
const GIT_SECRETS: [&str; 2] = [attr::AUTH_TOKEN_SECRET, attr::AUTH_HEADER_SECRET];

/// Reads what a graph was made of; `pins` are what its sources resolved themselves to.
pub(crate) fn capture(graph: &Graph, pins: &BTreeMap<Digest, String>) -> Capture {
    let mut capture = Capture::default();
    for vertex in graph.vertices() {
        match vertex.kind() {
            pb::Kind::Source(op) => add_source(&mut capture, vertex, op, pins.get(&vertex.digest)),
            pb::Kind::Exec(op) => add_step(&mut capture, op),
            // What a nested build takes is not known here.
            pb::Kind::Build(_) => capture.incomplete = true,
            pb::Kind::File(_) | pb::Kind::Merge(_) | pb::Kind::Diff(_) | pb::Kind::Passthrough(_) => {}
        }
    }
    capture
}

/// Adds a source; what cannot be told with an address and a digest makes the whole incomplete.
fn add_source(capture: &mut Capture, vertex: &Vertex, op: &pb::SourceOp, pin: Option<&String>) {
    let added = if let Some(name) = op.identifier.strip_prefix(source::DOCKER_IMAGE) {
        image(vertex, name, false, pin).map(|image| capture.add_image(image))
    } else if let Some(name) = op.identifier.strip_prefix(source::OCI_LAYOUT) {
        image(vertex, name, true, pin).map(|image| capture.add_image(image))
    } else if let Some(name) = op.identifier.strip_prefix(source::DOCKER_IMAGE_BLOB) {
        blob(name, false).map(|blob| capture.add_blob(blob))
    } else if let Some(name) = op.identifier.strip_prefix(source::OCI_LAYOUT_BLOB) {
        blob(name, true).map(|blob| capture.add_blob(blob))
    } else if let Some(address) = op.identifier.strip_prefix(source::GIT) {
        pin.map(|commit| add_repository(capture, op, address, commit))
    } else if op.identifier.starts_with(source::HTTP) || op.identifier.starts_with(source::HTTPS) {
        let digest = pin.and_then(|pin| pin.parse().ok());
        digest.map(|digest| capture.add_http(HttpSource { url: op.identifier.clone(), digest }))
    } else {
        let name = op.identifier.strip_prefix(source::LOCAL);
        name.map(|name| capture.add_local(name.to_owned()))
    };
    capture.incomplete |= added.is_none();
}

fn image(vertex: &Vertex, name: &str, local: bool, pin: Option<&String>) -> Option<ImageSource> {
    let reference = match local {
        true => Reference::parse_untagged(name),
        false => Reference::parse(name),
    };
    Some(ImageSource {
        reference: reference.ok()?,
        platform: vertex.platform().map(rbuild_oci::Platform::normalise),
        digest: Some(pin?.parse().ok()?),
        local,
    })
}

/// Reads the name of a blob, which says what it is.
fn blob(name: &str, local: bool) -> Option<BlobSource> {
    let reference = Reference::parse_untagged(name).ok()?;
    reference.digest?;
    Some(BlobSource { reference, local })
}

fn add_repository(capture: &mut Capture, op: &pb::SourceOp, address: &str, commit: &str) {
    let (address, fragment) = address.split_once('#').unwrap_or((address, ""));
    let reference = fragment.split(':').next().unwrap_or_default();
    let mut url = match op.attrs.get(attr::FULL_REMOTE_URL) {
        Some(url) => url.clone(),
        None => format!("https://{address}"),
    };
    if !reference.is_empty() {
        url = format!("{url}#{reference}");
    }
    capture.add_git(GitSource { url, commit: commit.to_owned() });
    for id in GIT_SECRETS.iter().filter_map(|key| op.attrs.get(*key)) {
        capture.add_secret(Secret { id: id.clone(), optional: true });
    }
    if let Some(id) = op.attrs.get(attr::MOUNT_SSH_SOCK) {
        capture.add_ssh(Secret { id: id.clone(), optional: true });
    }
}

fn add_step(capture: &mut Capture, op: &pb::ExecOp) {
    for mount in &op.mounts {
        match (mount.mount_type(), &mount.secret_opt, &mount.ssh_opt) {
            (pb::MountType::Secret, Some(secret), _) => {
                capture.add_secret(Secret { id: secret.id.clone(), optional: secret.optional });
            }
            (pb::MountType::Ssh, _, Some(ssh)) => {
                capture.add_ssh(Secret { id: ssh.id.clone(), optional: ssh.optional });
            }
            _ => {}
        }
    }
    for secret in &op.secretenv {
        capture.add_secret(Secret { id: secret.id.clone(), optional: secret.optional });
    }
    capture.network_access |= op.network() != pb::NetMode::None;
}
