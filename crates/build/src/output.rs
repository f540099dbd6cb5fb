//! Where results go: `--output` read, and carried out.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use rbuild_events::Reporter;
use rbuild_export::{
    ArchiveKind, ArchiveTarget, AssembleOptions, Assembled, Built, TarPart, assemble, configuration, export_archive,
    export_directory, export_tar, index_of, record, with_times_until,
};
use rbuild_images::{Images, PushImage, PushLayer};
use rbuild_oci::{Descriptor, Digest, Reference};
use rbuild_sys::result::create_result;
use rbuild_tree::FileTree;

use crate::attributes::Attributes;
use crate::error::BuildError;
use crate::request::OutputSpec;
use crate::track::Track;

/// Threads that compress.
const THREADS: usize = 2;

/// An output, read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Output {
    kind: Kind,
    names: Option<Vec<Reference>>,
    dest: Option<String>,
    tar: bool,
    assemble: AssembleOptions,
    platform_split: Option<bool>,
    /// `source-date-epoch`: wins over the build's; an empty one means none.
    epoch: Option<Option<i64>>,
    /// `rewrite-timestamp`: whether new layers have no time later than the epoch.
    rewrite: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Image { push: bool, store: bool },
    Archive(ArchiveKind),
    Local,
    Tar,
    CacheOnly,
}

/// What the outputs made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exported {
    /// The image id: the digest of the configuration.
    pub(crate) image_id: Option<Digest>,
    /// The manifest or index, if one was made.
    pub(crate) descriptor: Option<Descriptor>,
    /// The names it got.
    pub(crate) names: Vec<Reference>,
}

impl Output {
    /// Reads an output.
    pub(crate) fn parse(spec: &OutputSpec) -> Result<Self, BuildError> {
        let mut attributes = Attributes::new(spec);
        let dest = attributes.take("dest");
        let push = attributes.flag("push")?;
        let store = attributes.flag("store")?.unwrap_or(true);
        let kind = match spec.kind.as_str() {
            "image" => Kind::Image { push: push.unwrap_or(false), store },
            "registry" => Kind::Image { push: push.unwrap_or(true), store: false },
            "docker" if dest.is_none() => Kind::Image { push: false, store: true },
            "oci" => Kind::Archive(ArchiveKind::Oci),
            "docker" => Kind::Archive(ArchiveKind::Docker),
            "local" => Kind::Local,
            "tar" => Kind::Tar,
            "cacheonly" => Kind::CacheOnly,
            other => return Err(BuildError::Input(format!("unknown output type `{other}`"))),
        };
        let needs_dest = matches!(kind, Kind::Local | Kind::Tar | Kind::Archive(_));
        if needs_dest && dest.as_deref().is_none_or(str::is_empty) {
            return Err(BuildError::Input(format!(
                "dest is required for output type={} (`-` for standard output)",
                spec.kind
            )));
        }
        let oci = attributes.flag("oci-mediatypes")?.unwrap_or(true);
        let has_layers = matches!(kind, Kind::Image { .. } | Kind::Archive(_));
        let rewrite = has_layers && attributes.flag("rewrite-timestamp")?.unwrap_or(false);
        let output = Self {
            kind,
            names: attributes
                .take("name")
                .map(|names| names.split(',').map(parse_name).collect::<Result<_, _>>())
                .transpose()?,
            dest,
            tar: attributes.flag("tar")?.unwrap_or(true),
            platform_split: attributes.flag("platform-split")?,
            epoch: attributes.epoch()?,
            rewrite,
            assemble: AssembleOptions {
                compression: attributes.compression()?,
                force_compression: attributes.flag("force-compression")?.unwrap_or(false),
                oci_media_types: oci || kind == Kind::Archive(ArchiveKind::Oci),
                threads: THREADS,
            },
        };
        attributes.finish()?;
        Ok(output)
    }

    /// Whether the output writes to standard output.
    /// Returns whether the image is to be found in the local store by a name.
    pub(crate) fn is_named_in_store(&self, tags: &[Reference]) -> bool {
        let named = !tags.is_empty() || self.names.as_ref().is_some_and(|names| !names.is_empty());
        named && matches!(self.kind, Kind::Image { store: true, .. })
    }

    pub(crate) fn is_stdout(&self) -> bool {
        self.dest.as_deref() == Some("-")
    }
}

fn parse_name(name: &str) -> Result<Reference, BuildError> {
    name.parse().map_err(|error| BuildError::Input(format!("invalid image name `{name}`: {error}")))
}

/// Carries outputs out.
#[derive(Clone)]
pub(crate) struct Exporter {
    pub(crate) images: Images,
    pub(crate) reporter: Arc<dyn Reporter>,
    pub(crate) built: Arc<Vec<Built>>,
    pub(crate) tags: Vec<Reference>,
    pub(crate) stdout: fn() -> Box<dyn Write + Send>,
}

impl Exporter {
    /// Carries one output out.
    pub(crate) async fn export(&self, output: &Output) -> Result<Exported, BuildError> {
        let (name, done) = match output.kind {
            Kind::CacheOnly => return Ok(Exported::default()),
            Kind::Image { .. } => ("exporting to image", "writing image"),
            Kind::Archive(ArchiveKind::Oci) => ("exporting to oci image format", "sending tarball"),
            Kind::Archive(ArchiveKind::Docker) => ("exporting to docker image format", "sending tarball"),
            Kind::Local => ("exporting to client directory", "copying files"),
            Kind::Tar => ("exporting to client tarball", "sending tarball"),
        };
        let track = Track::start(&self.reporter, name);
        let exported = match self.at_its_time(output, &track).await {
            Ok(exporter) => exporter.carry_out(output, &track).await,
            Err(error) => Err(error),
        };
        track.note(done);
        track.end(exported)
    }

    async fn carry_out(&self, output: &Output, track: &Track) -> Result<Exported, BuildError> {
        match output.kind {
            Kind::Image { push, store } => self.image(output, push, store, track).await,
            Kind::Archive(kind) => self.archive(output, kind).await,
            Kind::Local | Kind::Tar | Kind::CacheOnly => self.files(output).await,
        }
    }

    /// Returns an exporter of results with the times that this output asks for.
    async fn at_its_time(&self, output: &Output, track: &Track) -> Result<Self, BuildError> {
        if output.epoch.is_none() && !output.rewrite {
            return Ok(self.clone());
        }
        let mut built = self.built.as_ref().clone();
        if let Some(epoch) = output.epoch {
            built.iter_mut().for_each(|built| built.epoch = epoch);
        }
        if output.rewrite {
            if built.iter().any(|built| built.epoch.is_none()) {
                track.note("rewrite-timestamp is given, but no SOURCE_DATE_EPOCH: times stay as they are");
            }
            let rewrite = |images: &Images, built: Built| match built.epoch {
                Some(latest) => with_times_until(images, &built, latest),
                None => Ok(built),
            };
            built =
                self.blocking(move |images, _| built.into_iter().map(|built| rewrite(images, built)).collect()).await?;
        }
        Ok(Self { built: Arc::new(built), ..self.clone() })
    }

    /// As buildx: what the build is tagged with goes before what the output says.
    fn names(&self, output: &Output) -> Vec<Reference> {
        if self.tags.is_empty() { output.names.clone().unwrap_or_default() } else { self.tags.clone() }
    }

    /// Runs blocking work with the images and results.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Images, &[Built]) -> Result<T, rbuild_export::ExportError> + Send + 'static,
    ) -> Result<T, BuildError> {
        let (images, built) = (self.images.clone(), self.built.clone());
        let done = tokio::task::spawn_blocking(move || work(&images, &built)).await;
        done.map_err(BuildError::engine)?.map_err(BuildError::engine)
    }

    async fn assembled(&self, options: AssembleOptions) -> Result<Vec<Assembled>, BuildError> {
        self.blocking(move |images, built| built.iter().map(|built| assemble(images, built, options)).collect()).await
    }

    async fn image(&self, output: &Output, push: bool, store: bool, track: &Track) -> Result<Exported, BuildError> {
        let names = self.names(output);
        if push && names.is_empty() {
            return Err(BuildError::Input("tag is needed when pushing to registry: add -t NAME".to_owned()));
        }
        let several = self.built.len() > 1;
        let assembled = if push || several { Some(self.assembled(output.assemble).await?) } else { None };
        let index = match &assembled {
            Some(assembled) if several => {
                Some(index_of(&self.images, assembled, output.assemble.oci_media_types).map_err(BuildError::engine)?)
            }
            _ => None,
        };
        let mut exported = Exported { names: names.clone(), ..Exported::default() };
        if store {
            exported.image_id = Some(self.record(&names, assembled.clone(), track).await?);
        } else {
            exported.image_id = assembled.as_ref().and_then(|all| all.first()).map(|image| image.config.0.digest);
        }
        if let Some(assembled) = &assembled {
            exported.descriptor = match &index {
                Some((descriptor, _)) => Some(descriptor.clone()),
                None => assembled.first().map(|image| image.manifest.0.clone()),
            };
            if push {
                self.push(&names, assembled, index.as_ref(), track).await?;
            }
        }
        Ok(exported)
    }

    /// Records the image in the store; images of several platforms have no names.
    async fn record(
        &self,
        names: &[Reference],
        assembled: Option<Vec<Assembled>>,
        track: &Track,
    ) -> Result<Digest, BuildError> {
        let given = names.to_vec();
        let id = self
            .blocking(move |images, built| {
                let mut first = None;
                for (position, built) in built.iter().enumerate() {
                    let manifest = assembled.as_ref().and_then(|all| all.get(position));
                    let id = record(images, built, manifest, &given)?;
                    first = first.or(Some(id));
                }
                Ok(first)
            })
            .await?;
        let id = id.ok_or_else(|| BuildError::Engine("a build without a result".to_owned()))?;
        track.note(format!("writing image {}", id.0));
        for name in names {
            track.note(format!("naming to {name}"));
        }
        Ok(id.0)
    }

    async fn push(
        &self,
        names: &[Reference],
        assembled: &[Assembled],
        index: Option<&(Descriptor, bytes::Bytes)>,
        track: &Track,
    ) -> Result<(), BuildError> {
        let images: Vec<_> = assembled.iter().map(push_image).collect();
        for name in names {
            let pushed = self.images.push(name, &images, index, &self.reporter, track.vertex()).await;
            let digest = pushed
                .map_err(|error| BuildError::Input(format!("failed to push {name}: {}", BuildError::chain(&error))))?;
            track.note(format!("pushing manifest for {name}@{digest}"));
        }
        Ok(())
    }

    async fn archive(&self, output: &Output, kind: ArchiveKind) -> Result<Exported, BuildError> {
        let names = self.names(output);
        let assembled = self.assembled(output.assemble).await?;
        let image_id = assembled.first().map(|image| image.config.0.digest);
        let target = match (output.tar, output.is_stdout()) {
            (false, true) => return Err(BuildError::Input("tar=false needs a directory as dest".to_owned())),
            (false, false) => ArchiveTarget::Directory(self.dest(output)),
            (true, _) => ArchiveTarget::Tar(self.stream(output)?),
        };
        let exported_names = names.clone();
        let descriptor = self
            .blocking(move |images, _| export_archive(images, kind, &[(assembled, exported_names)], target))
            .await?;
        Ok(Exported { image_id, descriptor: Some(descriptor), names })
    }

    fn dest(&self, output: &Output) -> PathBuf {
        PathBuf::from(output.dest.clone().unwrap_or_default())
    }

    /// Opens the file that a tar goes to.
    fn stream(&self, output: &Output) -> Result<Box<dyn Write + Send>, BuildError> {
        if output.is_stdout() {
            return Ok((self.stdout)());
        }
        let dest = self.dest(output);
        let failed = |error: std::io::Error| BuildError::Input(format!("creating `{}`: {error}", dest.display()));
        if dest.is_dir() {
            return Err(BuildError::Input(format!(
                "destination `{}` is a directory: a file is needed",
                dest.display()
            )));
        }
        Ok(Box::new(create_result(&dest).map_err(failed)?))
    }

    async fn files(&self, output: &Output) -> Result<Exported, BuildError> {
        let split = output.platform_split.unwrap_or(self.built.len() > 1);
        if output.kind == Kind::Tar {
            let stream = self.stream(output)?;
            self.blocking(move |images, built| {
                let part = |built: &Built| {
                    let folder = split.then(|| platform_folder(built));
                    Ok(TarPart { tree: view(images, built)?, folder, epoch: built.epoch })
                };
                let parts = built.iter().map(part).collect::<Result<Vec<_>, rbuild_export::ExportError>>()?;
                let mut out = export_tar(&parts, std::io::BufWriter::with_capacity(256 << 10, stream))?;
                out.flush().map_err(|source| rbuild_export::ExportError::Io {
                    action: "writing",
                    path: "the tar".into(),
                    source,
                })
            })
            .await?;
            return Ok(Exported::default());
        }
        let dest = self.dest(output);
        if output.is_stdout() {
            return Err(BuildError::Input(
                "type=local needs a directory as dest; for standard output use type=tar".to_owned(),
            ));
        }
        self.blocking(move |images, built| {
            for built in built {
                let dest = if split { dest.join(platform_folder(built)) } else { dest.clone() };
                export_directory(&*view(images, built)?, &dest, built.epoch)?;
            }
            Ok(())
        })
        .await?;
        Ok(Exported::default())
    }

    /// Returns the digest that an image of this build would have as its id, without making it.
    pub(crate) async fn image_id(&self) -> Result<Digest, BuildError> {
        self.blocking(|images, built| Ok(Digest::of(&configuration(images, &built[0])?.1))).await
    }
}

/// Returns the directory of one platform's files beside those of others.
fn platform_folder(built: &Built) -> PathBuf {
    built.platform.to_string().replace('/', "_").into()
}

fn push_image(image: &Assembled) -> PushImage {
    let layers = image.layers.iter().map(|(id, blob)| PushLayer { id: *id, blob: blob.clone() });
    PushImage { layers: layers.collect(), config: image.config.0.clone(), manifest: image.manifest.clone() }
}

fn view(images: &Images, built: &Built) -> Result<Box<dyn FileTree>, rbuild_export::ExportError> {
    let silent: Arc<dyn Reporter> = Arc::new(rbuild_events::Silent);
    Ok(Box::new(images.view(&built.layers, &silent, Digest::of(b""))?))
}
