//! Bills of materials: an image looks at the files of a result and writes down what it finds.
//!
//! The scan is a step like any other, whose root is the scanner's image:
//!
//! ```text
//! /run/src/core/sbom          the result, read-only
//! /run/src/extras/sbom-NAME   the build context and other stages, if the Dockerfile asks for them, read-only
//! /run/out                    what the scanner writes: the attestations
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rbuild_graph::source::DOCKER_IMAGE;
use rbuild_graph::{Builder, Definition, Edge, Graph, Output, description, pb};
use rbuild_lower::{Bridge as _, Lowered, ResolveMode, Scan as Scanned};
use rbuild_oci::{ImageConfig, Platform, Reference};
use rbuild_tree::pattern::Matcher;

use crate::answered::Attestation;
use crate::attributes::{Scanner, resolve_mode, scanner};
use crate::bridge::Asking;
use crate::error::{BuiltinError, chain};
use crate::host::Host;
use crate::results::Exported;

const CORE: &str = "/run/src/core/sbom";
const EXTRAS: &str = "/run/src/extras";
const OUT: &str = "/run/out/";
/// What a bill of materials is, by name.
const SBOM: &str = "sbom";
/// The type of the statements of a bill of materials.
pub const SPDX: &str = "https://spdx.dev/Document";

/// The most that a scan covers besides the result: each is a mount of the step.
const MAX_EXTRAS: usize = 1000;

/// A scanner whose image is known.
pub(crate) struct Scan<'a> {
    scanner: &'a Scanner,
    reference: Reference,
    image: ImageConfig,
    platform: &'a Platform,
}

/// Returns the scans that attributes of a request ask for, of results that others than this frontend defined, by
/// their names; `platform` is what the scanner runs on.
///
/// # Errors
/// If the attributes cannot be understood, the scanner's image cannot be had, or a definition is not valid.
pub async fn scans(
    attributes: &BTreeMap<String, String>,
    results: &[(String, Definition)],
    platform: &Platform,
    host: &dyn Host,
) -> Result<BTreeMap<String, Attestation>, BuiltinError> {
    let Some(scanner) = scanner(attributes).map_err(BuiltinError::Request)? else { return Ok(BTreeMap::new()) };
    let mode = resolve_mode(attributes).map_err(BuiltinError::Request)?;
    let sessions = BTreeMap::new();
    let asking = Asking::new(host, None, &sessions, Matcher::default());
    let scan = prepare(&scanner, platform, mode, &asking).await?;
    let ignore_cache = attributes.get("no-cache").is_some_and(String::is_empty);
    let of_result = |(id, definition): &(String, Definition)| {
        let graph = Graph::load(definition);
        let graph = graph.map_err(|error| BuiltinError::Request(format!("scanning {id}: {error}")))?;
        let target = graph.root().map(|root| Edge { vertex: root.vertex, output: root.output });
        let scanned = Scanned { definition: definition.clone(), target, extras: Vec::new(), ignore_cache };
        Ok((id.clone(), scan.attestation(id, &scanned)?))
    };
    results.iter().map(of_result).collect()
}

/// Looks up the scanner's image.
pub(crate) async fn prepare<'a>(
    scanner: &'a Scanner,
    platform: &'a Platform,
    mode: ResolveMode,
    asking: &Asking<'_>,
) -> Result<Scan<'a>, BuiltinError> {
    let shown = format!("resolve image config for {DOCKER_IMAGE}{}", scanner.image);
    let found = asking.resolve_image(&scanner.image, platform, mode, &shown).await;
    let found =
        found.map_err(|error| BuiltinError::Request(format!("sbom scanner {}: {}", scanner.image, chain(&error))))?;
    let (reference, image) = (found.reference, found.image);
    if command(&image).next().is_none() {
        return Err(BuiltinError::Request(format!("scanner {reference} does not have cmd")));
    }
    Ok(Scan { scanner, reference, image, platform })
}

impl Scan<'_> {
    /// Returns the scans of all results, by platform.
    pub(crate) fn scan_all(
        &self,
        platforms: &[Exported],
        lowered: &[Lowered],
    ) -> Result<BTreeMap<String, Vec<Attestation>>, BuiltinError> {
        let scan = |(platform, lowered): (&Exported, &Lowered)| {
            let nothing = || BuiltinError::Request(format!("scanning {}: there is nothing to scan", platform.id));
            let scanned = lowered.scan.as_ref().ok_or_else(nothing)?;
            Ok((platform.id.clone(), vec![self.attestation(&platform.id, scanned)?]))
        };
        platforms.iter().zip(lowered).map(scan).collect()
    }

    /// Returns the scan of one result.
    fn attestation(&self, id: &str, scanned: &Scanned) -> Result<Attestation, BuiltinError> {
        let definition = self.definition(id, scanned);
        let definition = definition.map_err(|reason| BuiltinError::Request(format!("scanning {id}: {reason}")))?;
        let metadata = [("reason", SBOM), ("sbom-core", SBOM)];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).into();
        Ok(Attestation { definition, predicate_type: SPDX.to_owned(), metadata })
    }

    fn definition(&self, id: &str, scan: &Scanned) -> Result<Definition, String> {
        let mut builder = Builder::new();
        let image = self.source(&mut builder);
        let mut mounts =
            Mounts { inputs: vec![image], positions: HashMap::from([(image, 0)]), mounts: vec![mount("/", 0, 0)] };
        mounts.mounts.push(mount(OUT, pb::EMPTY, 1));
        if scan.extras.len() > MAX_EXTRAS {
            return Err(format!("more than {MAX_EXTRAS} stages are to be covered"));
        }
        let edges: Vec<_> = std::iter::once(scan.target).chain(scan.extras.iter().map(|(_, edge)| *edge)).collect();
        let outputs = builder.import_all(&scan.definition, &edges).map_err(|error| error.to_string())?;
        let names = scan.extras.iter().map(|(name, _)| format!("{EXTRAS}/{SBOM}-{name}"));
        let paths = std::iter::once(CORE.to_owned()).chain(names);
        // Of stages with one name the last is the one that the name means.
        let extras: BTreeMap<String, Option<Output>> = paths.zip(outputs).collect();
        for (path, output) in &extras {
            mounts.add(path, *output)?;
        }
        let tmpfs = pb::MountType::Tmpfs as i32;
        let tmpfs_opt = Some(pb::TmpfsOpt::default());
        mounts.mounts.push(pb::Mount { mount_type: tmpfs, tmpfs_opt, ..mount("/tmp", pb::EMPTY, pb::SKIP_OUTPUT) });
        let exec =
            pb::ExecOp { meta: Some(self.meta(extras.len() > 1)), mounts: mounts.mounts, ..pb::ExecOp::default() };
        let op = pb::Op {
            op: Some(pb::Kind::Exec(exec)),
            platform: Some(self.platform.into()),
            constraints: Some(pb::WorkerConstraints::default()),
            ..pb::Op::default()
        };
        let name = format!("[{id}] generating sbom using {}", self.reference);
        let description = [(description::CUSTOM_NAME.to_owned(), name)].into();
        let metadata = pb::OpMetadata { description, ignore_cache: scan.ignore_cache, ..pb::OpMetadata::default() };
        let scanned = builder.add(op, mounts.inputs, &metadata, &[]).output(1);
        Ok(builder.finish(Some(scanned), Vec::new()))
    }

    fn source(&self, builder: &mut Builder) -> Output {
        let source =
            pb::SourceOp { identifier: format!("{DOCKER_IMAGE}{}", self.reference), ..pb::SourceOp::default() };
        let op = pb::Op {
            op: Some(pb::Kind::Source(source)),
            platform: Some(self.platform.into()),
            constraints: Some(pb::WorkerConstraints::default()),
            ..pb::Op::default()
        };
        builder.add(op, Vec::new(), &pb::OpMetadata::default(), &[]).output(0)
    }

    fn meta(&self, has_extras: bool) -> pb::Meta {
        let config = &self.image.config;
        let variable = |(name, value): (&str, &str)| format!("{name}={value}");
        let extras = has_extras.then(|| variable(("BUILDKIT_SCAN_SOURCE_EXTRAS", EXTRAS)));
        let own = [("BUILDKIT_SCAN_DESTINATION", OUT), ("BUILDKIT_SCAN_SOURCE", CORE)].map(variable);
        let parameters = self.scanner.parameters.iter().map(|(name, value)| format!("BUILDKIT_SCAN_{name}={value}"));
        let added: Vec<String> = own.into_iter().chain(extras).chain(parameters).collect();
        let name = |variable: &str| variable.split_once('=').map_or(variable.to_owned(), |(name, _)| name.to_owned());
        let replaced: BTreeSet<String> = added.iter().map(|variable| name(variable)).collect();
        let kept = config.env.iter().filter(|variable| !replaced.contains(&name(variable))).cloned();
        let directory = if config.working_dir.is_empty() { "/" } else { &config.working_dir };
        pb::Meta {
            args: command(&self.image).cloned().collect(),
            env: kept.chain(added.clone()).collect(),
            cwd: directory.to_owned(),
            remove_mount_stubs_recursive: true,
            ..pb::Meta::default()
        }
    }
}

/// Returns the words that the scanner is run with.
fn command(image: &ImageConfig) -> impl Iterator<Item = &String> {
    image.config.entrypoint.iter().chain(&image.config.cmd).flatten()
}

/// The mounts of the scan, with what is in them.
struct Mounts {
    inputs: Vec<Output>,
    positions: HashMap<Output, usize>,
    mounts: Vec<pb::Mount>,
}

impl Mounts {
    /// Mounts a result for reading.
    fn add(&mut self, path: &str, output: Option<Output>) -> Result<(), String> {
        let input = match output {
            None => pb::EMPTY,
            Some(output) => {
                let next = self.inputs.len();
                let known = *self.positions.entry(output).or_insert(next);
                if known == next {
                    self.inputs.push(output);
                }
                i64::try_from(known).map_err(|error| error.to_string())?
            }
        };
        self.mounts.push(pb::Mount { readonly: true, ..mount(path, input, pb::SKIP_OUTPUT) });
        Ok(())
    }
}

fn mount(path: &str, input: i64, output: i64) -> pb::Mount {
    pb::Mount { dest: path.to_owned(), input, output, ..pb::Mount::default() }
}
