//! An output of a build as somebody asks for it: `type=oci,dest=…`, or an exporter of a client with its attributes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rbuild_oci::{Digest, Reference};

use crate::ExportError;
use crate::annotations::Annotations;
use crate::archive::ArchiveKind;
use crate::assemble::AssembleOptions;
use crate::attributes::Attributes;
use crate::destination::DirectoryMode;
use rbuild_tree::compress::Compression;

/// Threads that compress.
const THREADS: usize = 2;

/// An output of a build, as `--output` or a client says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSpec {
    /// `image`, `registry`, `oci`, `docker`, `local` or `tar`.
    pub kind: String,
    /// The other attributes.
    pub attributes: BTreeMap<String, String>,
}

/// Who asks for an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A person at this machine: `dest=` names files, and what is not known is refused.
    CommandLine,
    /// A client of a daemon: it has the destination itself, and what is not known goes to the result's metadata.
    Client,
}

/// An output, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    pub(crate) kind: OutputKind,
    pub(crate) names: Option<String>,
    pub(crate) image: ImageOptions,
    pub(crate) dest: Option<String>,
    pub(crate) tar: bool,
    pub(crate) mode: DirectoryMode,
    pub(crate) attestation_prefix: String,
    pub(crate) platform_split: Option<bool>,
    /// `source-date-epoch`: wins over the build's; an empty one means none.
    pub(crate) epoch: Option<Option<i64>>,
    /// `rewrite-timestamp`: whether new layers have no time later than the epoch.
    pub(crate) rewrite: bool,
    /// What goes to the metadata of the result.
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) asker: Asker,
}

/// What an output makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// An image in the local store, or at a registry.
    Image,
    /// An archive of an image.
    Archive(ArchiveKind),
    /// Files in a directory.
    Local,
    /// Files as one tar.
    Tar,
    /// Nothing: the build is worth it for its cache.
    CacheOnly,
}

/// Attributes of outputs that are images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageOptions {
    pub(crate) push: bool,
    pub(crate) push_by_digest: bool,
    pub(crate) insecure: bool,
    pub(crate) store: bool,
    pub(crate) unpack: bool,
    pub(crate) canonical: bool,
    pub(crate) dangling_prefix: String,
    pub(crate) dangling_empty_only: bool,
    pub(crate) annotations: Annotations,
    pub(crate) artifact: bool,
    pub(crate) inline_attestations: bool,
    pub(crate) assemble: AssembleOptions,
}

impl Output {
    /// Reads an output.
    ///
    /// # Errors
    /// If there is no such output, or an attribute is wrong, not supported or in conflict with others.
    pub fn parse(spec: &OutputSpec, asker: Asker) -> Result<Self, ExportError> {
        let mut attributes = Attributes::new(spec);
        let dest = match asker {
            Asker::CommandLine => attributes.take("dest"),
            Asker::Client => None,
        };
        let kind = kind(spec, asker, dest.as_deref())?;
        let is_image = matches!(kind, OutputKind::Image | OutputKind::Archive(_));
        let mut output = Self {
            kind,
            names: attributes.take("name"),
            image: ImageOptions::take(&mut attributes, spec, kind, asker)?,
            dest,
            tar: true,
            mode: DirectoryMode::default(),
            attestation_prefix: String::new(),
            platform_split: None,
            epoch: attributes.epoch()?,
            rewrite: false,
            metadata: BTreeMap::new(),
            asker,
        };
        match is_image {
            true => {
                output.tar = kind == OutputKind::Image || attributes.flag("tar")?.unwrap_or(true);
                output.rewrite = attributes.flag("rewrite-timestamp")?.unwrap_or(false);
            }
            false => {
                output.attestation_prefix = attributes.take("attestation-prefix").unwrap_or_default();
                output.platform_split = attributes.flag("platform-split")?;
                output.mode = mode(&mut attributes)?;
            }
        }
        // An attribute of builders of long ago, which means nothing any more.
        attributes.take("buildinfo");
        attributes.take("buildinfo-attrs");
        match asker {
            Asker::CommandLine => attributes.finish()?,
            Asker::Client => output.metadata = attributes.rest(),
        }
        Ok(output)
    }

    /// Returns what the output makes.
    pub fn kind(&self) -> OutputKind {
        self.kind
    }

    /// Returns how new layers are compressed, and whether those that are there are compressed anew.
    pub fn compression(&self) -> (Compression, bool) {
        (self.image.assemble.compression, self.image.assemble.force_compression)
    }

    /// Returns what the output is called in progress.
    pub fn title(&self) -> &'static str {
        match self.kind {
            OutputKind::Image => "exporting to image",
            OutputKind::Archive(ArchiveKind::Oci) => "exporting to oci image format",
            OutputKind::Archive(ArchiveKind::Docker) => "exporting to docker image format",
            OutputKind::Local => "exporting to client directory",
            OutputKind::Tar => "exporting to client tarball",
            OutputKind::CacheOnly => "keeping the cache",
        }
    }

    /// Returns the file or directory of this machine that the output goes to.
    pub fn dest(&self) -> Option<PathBuf> {
        self.dest.as_ref().map(PathBuf::from)
    }

    /// Whether the output writes to standard output.
    pub fn is_stdout(&self) -> bool {
        self.dest.as_deref() == Some("-")
    }

    /// Returns whether the image is to be found in the local store by a name.
    pub fn is_named_in_store(&self) -> bool {
        let named = self.names.as_ref().is_some_and(|names| !names.is_empty());
        named && self.kind == OutputKind::Image && self.image.store
    }

    /// Gives the image these names instead of those that the output says, as buildx does with `--tag`.
    pub fn tag(&mut self, names: &[Reference]) {
        if !names.is_empty() {
            self.names = Some(names.iter().map(Reference::to_string).collect::<Vec<_>>().join(","));
        }
    }
}

fn kind(spec: &OutputSpec, asker: Asker, dest: Option<&str>) -> Result<OutputKind, ExportError> {
    let kind = match spec.kind.as_str() {
        "image" | "registry" => OutputKind::Image,
        "docker" if dest.is_none() && asker == Asker::CommandLine => OutputKind::Image,
        "oci" => OutputKind::Archive(ArchiveKind::Oci),
        "docker" => OutputKind::Archive(ArchiveKind::Docker),
        "local" => OutputKind::Local,
        "tar" => OutputKind::Tar,
        "cacheonly" => OutputKind::CacheOnly,
        "moby" => {
            let reason = "output type=moby is of docker's own builder only: use type=image or type=docker";
            return Err(ExportError::Output(reason.to_owned()));
        }
        other if asker == Asker::Client => {
            return Err(ExportError::Output(format!("exporter {other:?} could not be found")));
        }
        other => return Err(ExportError::Output(format!("unknown output type `{other}`"))),
    };
    let needs_dest = asker == Asker::CommandLine && !matches!(kind, OutputKind::Image | OutputKind::CacheOnly);
    if needs_dest && dest.is_none_or(str::is_empty) {
        let kind = &spec.kind;
        return Err(ExportError::Output(format!("dest is required for output type={kind} (`-` for standard output)")));
    }
    Ok(kind)
}

fn mode(attributes: &mut Attributes<'_>) -> Result<DirectoryMode, ExportError> {
    match attributes.take("mode").as_deref() {
        None | Some("" | "copy") => Ok(DirectoryMode::Copy),
        Some("delete") => Ok(DirectoryMode::Delete),
        Some(other) => Err(attributes.invalid("mode", other, "expected copy or delete")),
    }
}

impl ImageOptions {
    fn take(
        attributes: &mut Attributes<'_>,
        spec: &OutputSpec,
        kind: OutputKind,
        asker: Asker,
    ) -> Result<Self, ExportError> {
        let registry = spec.kind == "registry";
        let mut flag = |name: &str, default: bool| attributes.flag(name).map(|given| given.unwrap_or(default));
        let oci = flag("oci-mediatypes", true)?;
        let mut options = Self {
            push: flag("push", registry)? && kind == OutputKind::Image,
            push_by_digest: flag("push-by-digest", false)?,
            insecure: flag("registry.insecure", false)?,
            store: flag("store", !registry)?,
            unpack: flag("unpack", false)?,
            canonical: flag("name-canonical", false)?,
            // The name is misspelt on the wire.
            dangling_empty_only: flag("danging-name-empty-only", false)?,
            artifact: flag("oci-artifact", oci)?,
            inline_attestations: flag("attestation-inline", kind == OutputKind::Image)?,
            assemble: AssembleOptions {
                force_compression: flag("force-compression", false)?,
                oci_media_types: oci,
                foreign_layers: flag("prefer-nondist-layers", false)?,
                compression: Compression::None,
                threads: THREADS,
            },
            dangling_prefix: String::new(),
            annotations: Annotations::default(),
        };
        // Whether blobs may lack is a matter of BuildKit's tests.
        flag("unsafe-internal-store-allow-incomplete", false)?;
        options.assemble.compression = attributes.compression()?;
        options.dangling_prefix = attributes.take("dangling-name-prefix").unwrap_or_default();
        for (name, value) in &spec.attributes {
            if options.annotations.take(name, value)? {
                attributes.take(name);
            }
        }
        options.check(asker)?;
        if asker == Asker::CommandLine && !matches!(kind, OutputKind::Image | OutputKind::Archive(_)) {
            options.refuse_for_files(spec)?;
        }
        Ok(options)
    }

    /// Docker's manifests know neither artifacts nor zstd, for which BuildKit has a type of its own making.
    fn check(&self, asker: Asker) -> Result<(), ExportError> {
        let conflict = |one: &str, other: &str| {
            Err(ExportError::Output(format!("exporter option {one:?} conflicts with {other:?}")))
        };
        if self.artifact && !self.assemble.oci_media_types {
            return conflict("oci-artifact=true", "oci-mediatypes=false");
        }
        let zstd = matches!(self.assemble.compression, Compression::Zstd(_));
        if asker == Asker::CommandLine && zstd && !self.assemble.oci_media_types {
            return conflict("compression=zstd", "oci-mediatypes=false");
        }
        Ok(())
    }

    /// Files have no annotations and no registry.
    fn refuse_for_files(&self, spec: &OutputSpec) -> Result<(), ExportError> {
        match (self.annotations == Annotations::default(), self.push) {
            (true, false) => Ok(()),
            _ => Err(ExportError::Output(format!("output type={} is no image: it has no annotations", spec.kind))),
        }
    }

    /// Returns all names that an image gets.
    pub(crate) fn all_names(&self, names: &str, digest: &Digest) -> (String, bool) {
        if self.dangling_prefix.is_empty() || self.dangling_empty_only && !names.is_empty() {
            return (names.to_owned(), self.canonical);
        }
        let dangling = format!("{}@{digest}", self.dangling_prefix);
        if names.is_empty() { (dangling, false) } else { (format!("{names},{dangling}"), self.canonical) }
    }
}

/// Reads names separated by commas.
pub(crate) fn parse_names(names: &str) -> Result<Vec<Reference>, ExportError> {
    let parse =
        |name: &str| name.parse().map_err(|error| ExportError::Output(format!("invalid image name `{name}`: {error}")));
    names.split(',').filter(|name| !name.is_empty()).map(parse).collect()
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
