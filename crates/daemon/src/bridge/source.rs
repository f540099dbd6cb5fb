//! What sources are, asked before they are fetched: the configuration of an image, the commit of a branch.

use std::path::Path;

use bytes::Bytes;
use rbuild_buildkit_api::gateway::{
    self, AttestationChain, ChecksumAlgo, ChecksumRequest, ChecksumResponse, ResolveImageConfigRequest,
    ResolveImageConfigResponse, ResolveSourceGitResponse, ResolveSourceHTTPResponse, ResolveSourceImageResponse,
    ResolveSourceMetaRequest, ResolveSourceMetaResponse,
};
use rbuild_export::provenance::ImageSource;
use rbuild_graph::policy::{Engine, Policy};
use rbuild_graph::{Builder, pb, source};
use rbuild_images::{Mode, Resolved};
use rbuild_oci::{Descriptor, Digest, Platform, Reference};
use rbuild_ops::{Algorithm, LayoutImage, OciLayout};
use tonic::Code;

use crate::build::Build;
use crate::fault::Fault;
use crate::shown::shown;
use crate::solve::policies;

/// The kind of resolver that looks into a client's OCI layout.
const LAYOUT: i32 = 1;
/// The longest suffix of a file that is hashed with it, in bytes.
const MOST_SUFFIX: usize = 4096;
/// The most that is told of an image, in bytes: clients take messages of 16 MiB.
const MOST_TOLD: u64 = 15 << 20;

/// Returns an image's digest and configuration.
pub(super) async fn image_config(
    build: &Build,
    request: ResolveImageConfigRequest,
) -> Result<ResolveImageConfigResponse, Fault> {
    let reference = Reference::parse(&request.r#ref)
        .map_err(|error| Fault::of(&error).context(&format!("could not parse reference {:?}", request.r#ref)))?;
    let scheme = if request.resolver_type == LAYOUT { source::OCI_LAYOUT } else { source::DOCKER_IMAGE };
    let mut attrs = std::collections::BTreeMap::new();
    if request.resolver_type == LAYOUT {
        attrs.insert(source::attr::OCI_LAYOUT_STORE_ID.to_owned(), request.store_id);
        attrs.insert(source::attr::OCI_LAYOUT_SESSION_ID.to_owned(), request.session_id);
    }
    let asked = ResolveSourceMetaRequest {
        source: Some(pb::SourceOp { identifier: format!("{scheme}{reference}"), attrs }),
        platform: request.platform,
        log_name: request.log_name,
        resolve_mode: request.resolve_mode,
        source_policies: request.source_policies,
        ..ResolveSourceMetaRequest::default()
    };
    let failed = |fault: Fault| fault.context(&format!("failed to resolve source metadata for {reference}"));
    let answer = metadata(build, asked).await.map_err(failed)?;
    let (Some(op), Some(image)) = (answer.source, answer.image) else {
        return Err(Fault::new(format!("{reference} is not an image")));
    };
    let name = op.identifier.split_once("://").map_or("", |(_, name)| name);
    Ok(ResolveImageConfigResponse { digest: image.digest, config: image.config, r#ref: name.to_owned() })
}

/// Returns what a source is, after policies have seen it.
pub(crate) async fn metadata(
    build: &Build,
    mut request: ResolveSourceMetaRequest,
) -> Result<ResolveSourceMetaResponse, Fault> {
    let invalid = || Fault::with_code(Code::InvalidArgument, "source is required");
    let op = request.source.take().ok_or_else(invalid)?;
    let policies = policies(&request.source_policies)?;
    let op = admitted(build, &policies, op, request.platform.clone()).await?;
    described(build, ResolveSourceMetaRequest { source: Some(op), ..request }).await
}

/// Returns what a source is.
pub(crate) async fn described(
    build: &Build,
    request: ResolveSourceMetaRequest,
) -> Result<ResolveSourceMetaResponse, Fault> {
    let invalid = || Fault::with_code(Code::InvalidArgument, "source is required");
    let op = request.source.clone().ok_or_else(invalid)?;
    let platform = request.platform.as_ref().map_or_else(Platform::host, Platform::from).normalise();
    let name = match request.log_name.as_str() {
        "" => format!("resolve image config for {}", op.identifier),
        name => name.to_owned(),
    };
    let is = |scheme: &str| op.identifier.starts_with(scheme);
    if is(source::GIT) || is(source::HTTP) || is(source::HTTPS) {
        return shown(&**build.feed(), &name, "", fetched(build, op, &request)).await;
    }
    if is(source::OCI_LAYOUT) {
        let (digest, image) = shown(&**build.feed(), &name, "", build.worker().layout_metadata(&op, &platform)).await?;
        if let Ok(reference) = Reference::parse_untagged(op.identifier.trim_start_matches(source::OCI_LAYOUT)) {
            let digest = Some(digest);
            build.scope().add_image(ImageSource { reference, platform: Some(platform), digest, local: true });
        }
        let (digest, config) = (digest.to_string(), image.config_bytes.into());
        let image = Some(ResolveSourceImageResponse { digest, config, attestation_chain: None });
        return Ok(ResolveSourceMetaResponse { source: Some(op), image, ..ResolveSourceMetaResponse::default() });
    }
    let id = format!("{}{platform}", op.identifier);
    if let Some(image) = op.identifier.strip_prefix(source::DOCKER_IMAGE) {
        let reference = Reference::parse(image).map_err(|error| Fault::of(&error).context("invalid image name"))?;
        let found = image_of(build, &reference, &platform, &request);
        let (identifier, image) = shown(&**build.feed(), &name, &id, found).await?;
        let digest = image.digest.parse().ok();
        build.scope().add_image(ImageSource { reference, platform: Some(platform), digest, local: false });
        let source = Some(pb::SourceOp { identifier, attrs: op.attrs });
        return Ok(ResolveSourceMetaResponse { source, image: Some(image), ..ResolveSourceMetaResponse::default() });
    }
    // There is nothing to be said of directories.
    Ok(ResolveSourceMetaResponse { source: Some(op), ..ResolveSourceMetaResponse::default() })
}

/// Returns what a repository or a file is.
async fn fetched(
    build: &Build,
    op: pb::SourceOp,
    request: &ResolveSourceMetaRequest,
) -> Result<ResolveSourceMetaResponse, Fault> {
    let mut answer = ResolveSourceMetaResponse::default();
    if op.identifier.starts_with(source::GIT) {
        let objects = request.git.as_ref().is_some_and(|git| git.return_object);
        let git = build.worker().git_metadata(&op, objects).await?;
        answer.git = Some(ResolveSourceGitResponse {
            checksum: git.object,
            r#ref: git.name,
            commit_checksum: git.commit.unwrap_or_default(),
            commit_object: git.commit_bytes.into(),
            tag_object: git.tag_bytes.into(),
        });
    } else {
        let asked = request.http.as_ref().and_then(|http| http.checksum_request.as_ref());
        let suffix = asked.map(suffix).transpose()?;
        let http = build.worker().http_metadata(&op, suffix).await?;
        let suffix = asked.map(|asked| asked.suffix.clone()).unwrap_or_default();
        answer.http = Some(ResolveSourceHTTPResponse {
            checksum: http.digest.to_string(),
            filename: http.name,
            last_modified: http.last_modified.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
            checksum_response: http.with_suffix.map(|digest| ChecksumResponse { digest, suffix }),
        });
    }
    answer.source = Some(op);
    Ok(answer)
}

/// Reads how a file is to be hashed.
fn suffix(asked: &ChecksumRequest) -> Result<(Algorithm, Vec<u8>), Fault> {
    if asked.suffix.len() > MOST_SUFFIX {
        return Err(Fault::new(format!("checksum suffix exceeds max size {MOST_SUFFIX}")));
    }
    let algorithm = match ChecksumAlgo::try_from(asked.algo) {
        Ok(ChecksumAlgo::Sha256) => Algorithm::Sha256,
        Ok(ChecksumAlgo::Sha384) => Algorithm::Sha384,
        Ok(ChecksumAlgo::Sha512) => Algorithm::Sha512,
        Err(_) => return Err(Fault::new(format!("unsupported checksum algorithm {}", asked.algo))),
    };
    Ok((algorithm, asked.suffix.to_vec()))
}

async fn image_of(
    build: &Build,
    reference: &Reference,
    platform: &Platform,
    request: &ResolveSourceMetaRequest,
) -> Result<(String, ResolveSourceImageResponse), Fault> {
    let wanted = request.image.clone().unwrap_or_default();
    let resolved = resolve(build, reference, platform, &request.resolve_mode).await?;
    let digest = resolved.target.as_ref().map_or(resolved.config_digest, |target| target.digest);
    let identifier = format!("{}{reference}", source::DOCKER_IMAGE);
    let config = if wanted.no_config { Bytes::new() } else { resolved.config_bytes.clone() };
    let mut image = ResolveSourceImageResponse { digest: digest.to_string(), config, attestation_chain: None };
    if wanted.attestation_chain || !wanted.resolve_attestations.is_empty() {
        let left = MOST_TOLD.saturating_sub(image.config.len() as u64);
        let images = build.worker().images();
        let chain = images.attestation_chain(&resolved, platform, &wanted.resolve_attestations, left).await;
        image.attestation_chain = chain.map_err(|error| Fault::of(&error))?.map(told);
    }
    Ok((identifier, image))
}

/// Returns what is attested of an image as clients read it.
fn told(chain: rbuild_images::AttestationChain) -> AttestationChain {
    let blob = |(descriptor, data): (Descriptor, Bytes)| {
        let size = data.len() as i64;
        let Descriptor { media_type, digest, annotations, .. } = descriptor;
        let digest = digest.to_string();
        let descriptor = gateway::Descriptor { media_type, digest: digest.clone(), size, annotations };
        (digest, gateway::Blob { descriptor: Some(descriptor), data })
    };
    AttestationChain {
        root: chain.root.to_string(),
        image_manifest: chain.image.to_string(),
        attestation_manifest: chain.attestations.map(|digest| digest.to_string()).unwrap_or_default(),
        signature_manifests: chain.signature.iter().map(ToString::to_string).collect(),
        blobs: chain.blobs.into_iter().map(blob).collect(),
    }
}

/// Returns what policies and the client's session make of a source.
pub(crate) async fn admitted(
    build: &Build,
    policies: &[Policy],
    op: pb::SourceOp,
    platform: Option<pb::Platform>,
) -> Result<pb::SourceOp, Fault> {
    let op = under_policy(build, policies, op)?;
    match build.judge() {
        None => Ok(op),
        Some(judge) => {
            let judged = judge.source(build, op, platform).await;
            judged.map_err(|fault| fault.context("could not resolve image due to policy"))
        }
    }
}

/// Returns an image that was asked about as what a build is made of.
pub(crate) fn material(reference: &Reference, platform: &Platform, resolved: &Resolved) -> ImageSource {
    let digest = resolved.target.as_ref().map_or(resolved.config_digest, |target| target.digest);
    ImageSource {
        reference: reference.clone(),
        platform: Some(platform.clone().normalise()),
        digest: Some(digest),
        local: false,
    }
}

/// Returns what policies make of a source.
fn under_policy(build: &Build, policies: &[Policy], op: pb::SourceOp) -> Result<pb::SourceOp, Fault> {
    let all: Vec<_> = build.begun().policies.iter().chain(policies).cloned().collect();
    if all.is_empty() {
        return Ok(op);
    }
    let evaluated = Engine::new(&all).and_then(|mut engine| engine.evaluate(&op));
    let evaluated = evaluated.map_err(|error| Fault::of(&error).context("could not resolve image due to policy"))?;
    Ok(evaluated.unwrap_or(op))
}

/// Returns an image of a client's OCI layout.
pub(crate) async fn layout_image(
    build: &Build,
    store: &str,
    session: Option<&str>,
    digest: Digest,
    platform: &Platform,
) -> Result<LayoutImage, Fault> {
    let layout = build.worker().session().layout(store, session).await.map_err(|error| Fault::of(&error))?;
    let layout = layout.ok_or_else(|| Fault::new(format!("OCI layout `{store}` is not part of this build")))?;
    let platform = platform.clone();
    let read = tokio::task::spawn_blocking(move || OciLayout::of_client(layout)?.image(digest, &platform)).await;
    Ok(read.map_err(|error| Fault::of(&error))??)
}

/// Returns the time that a source carries, in seconds since 1970.
pub(crate) async fn time(build: &Build, op: &pb::SourceOp) -> Result<Option<i64>, Fault> {
    if op.identifier.starts_with(source::GIT) {
        return Ok(build.worker().commit_time(op).await?);
    }
    let name = op.attrs.get(source::attr::HTTP_FILENAME).cloned().unwrap_or_default();
    let mut builder = Builder::new();
    let vertex = pb::Op {
        op: Some(pb::Kind::Source(op.clone())),
        constraints: Some(pb::WorkerConstraints::default()),
        ..pb::Op::default()
    };
    let output = builder.add(vertex, Vec::new(), &pb::OpMetadata::default(), &[]).output(0);
    let lazy = build.load(&builder.finish(Some(output), Vec::new()).to_pb())?;
    let lazy = lazy.ok_or_else(|| Fault::new("a source without a result"))?;
    let (worker, value) = (build.worker().clone(), build.solve(&lazy).await?.value.clone());
    let time = tokio::task::spawn_blocking(move || worker.file_time(&value, Path::new(&name))).await;
    Ok(time.map_err(|error| Fault::of(&error))??)
}

/// Finds an image at its registry, or in the store if the client prefers that or the registry cannot be asked.
pub(crate) async fn resolve(
    build: &Build,
    reference: &Reference,
    platform: &Platform,
    mode: &str,
) -> Result<std::sync::Arc<Resolved>, Fault> {
    let images = build.worker().images();
    if mode == "local" {
        return images.resolve(reference, platform, Mode::Missing).await.map_err(|error| Fault::of(&error));
    }
    match images.resolve(reference, platform, Mode::Always).await {
        Ok(resolved) => Ok(resolved),
        Err(error) if mode == "pull" => Err(Fault::of(&error)),
        Err(error) => {
            let local = images.resolve(reference, platform, Mode::Never).await;
            local.map_err(|_| Fault::of(&error))
        }
    }
}
