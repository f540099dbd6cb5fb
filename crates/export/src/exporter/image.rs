//! Images in the local store and at registries.

use std::sync::Arc;

use rbuild_events::{Reporter, Track};
use rbuild_images::{Images, PushImage};
use rbuild_oci::{Descriptor, Digest, Platform, Reference};

use super::{Exported, StoredImages, Work};
use crate::ExportError;
use crate::commit::Commit;
use crate::output::{Asker, parse_names};
use crate::response::{CONFIG_DIGEST, DIGEST, NAME, Response, of_image};
use crate::store::record;

/// An image to be pushed.
pub struct Push {
    images: Images,
    reporter: Arc<dyn Reporter>,
    names: Vec<(Reference, bool)>,
    manifests: Vec<PushImage>,
    index: Option<(Descriptor, bytes::Bytes)>,
    digest: Digest,
    by_digest: bool,
    track: Option<Track>,
}

impl Work<'_> {
    pub(super) fn image(&self) -> Result<Exported, ExportError> {
        let names = self.names();
        let options = &self.output.image;
        if options.push && names.is_empty() && self.output.asker == Asker::CommandLine {
            let reason = "tag is needed when pushing to registry: add -t NAME";
            return Err(ExportError::Output(reason.to_owned()));
        }
        let attested = self.parts.iter().any(|part| !part.attestations.is_empty());
        let wanted = options.push || self.is_map || attested || self.stored != StoredImages::Lazy;
        if options.store && !wanted {
            return self.lazily(&names);
        }
        let parsed = parse_names(&names)?;
        let commit_options = self.commit_options(&parsed);
        let commit = Commit::new(self.images, &self.parts, self.is_map, &commit_options, &self.progress)?;
        let config = commit.images.first().map(|image| image.config.0.digest);
        let (names, canonical) = options.all_names(&names, &commit.root.digest);
        let mut response = of_image(&commit.root, config.as_ref().filter(|_| commit.index.is_none()));
        if !names.is_empty() {
            response.insert(NAME.to_owned(), names.clone());
        }
        let mut named = parse_names(&names)?;
        if options.store && self.stored != StoredImages::Nothing {
            if options.unpack && self.output.rewrite && !named.is_empty() {
                let reason = "exporter option \"rewrite-timestamp\" conflicts with \"unpack\"";
                return Err(ExportError::Output(reason.to_owned()));
            }
            if canonical {
                let digest = commit.root.digest;
                let plain: Vec<_> = named.iter().filter(|name| name.digest.is_none()).cloned().collect();
                named.extend(plain.into_iter().map(|name| name.with_digest(digest)));
            }
            self.record(&commit, &named)?;
        }
        let push = match options.push && !names.is_empty() {
            true => Some(self.push(&names, &commit)?),
            false => None,
        };
        Ok(Exported { response, descriptor: Some(commit.root), image_id: config, names: parsed, push })
    }

    /// Keeps the image without making a blob of it.
    fn lazily(&self, names: &str) -> Result<Exported, ExportError> {
        let part = self.parts.first().ok_or_else(|| ExportError::Result("a build without a result".to_owned()))?;
        self.annotations.check(&[&part.platform], self.output.image.assemble.oci_media_types, false)?;
        let config = part.configuration(self.images, None)?;
        let id = Digest::of(&config);
        let (names, canonical) = self.output.image.all_names(names, &id);
        let mut named = parse_names(&names)?;
        let given = named.clone();
        if canonical {
            named.extend(given.iter().filter(|name| name.digest.is_none()).map(|name| name.with_digest(id)));
        }
        record(self.images, part, &config, None, Vec::new(), &named)?;
        self.told(id, &named);
        // As docker's own store has it: an image without a manifest is known by its id.
        let mut response: Response =
            [CONFIG_DIGEST, DIGEST].map(|key| (key.to_owned(), id.to_string())).into_iter().collect();
        if !names.is_empty() {
            response.insert(NAME.to_owned(), names);
        }
        Ok(Exported { response, descriptor: None, image_id: Some(id), names: given, push: None })
    }

    /// Records all platforms' images; the names lead to the one that runs here.
    fn record(&self, commit: &Commit, names: &[Reference]) -> Result<(), ExportError> {
        let host = Platform::host();
        let shown = self.parts.iter().position(|part| host.matches(&part.platform)).unwrap_or(0);
        let mut kept: Vec<Digest> = Vec::new();
        if commit.index.is_some() {
            kept.extend(commit.index.iter().map(|(descriptor, _)| descriptor.digest));
            for attested in &commit.attestations {
                kept.extend([attested.config.digest, attested.manifest.0.digest]);
                kept.extend(attested.layers.iter().map(|layer| layer.digest));
            }
        }
        for (position, (part, image)) in self.parts.iter().zip(&commit.images).enumerate() {
            let names = if position == shown { names } else { &[] };
            let manifest = Some(image.manifest.0.clone());
            record(self.images, part, &image.config.1, manifest, kept.clone(), names)?;
        }
        if let Some(image) = commit.images.get(shown) {
            self.told(image.config.0.digest, names);
        }
        Ok(())
    }

    fn told(&self, id: Digest, names: &[Reference]) {
        self.progress.note(format!("writing image {id}"));
        for name in names {
            self.progress.note(format!("naming to {name}"));
        }
    }

    fn push(&self, names: &str, commit: &Commit) -> Result<Push, ExportError> {
        let by_digest = self.output.image.push_by_digest;
        let mut named = Vec::new();
        for name in names.split(',').filter(|name| !name.is_empty()) {
            let untagged = Reference::parse_untagged(name)
                .map_err(|error| ExportError::Output(format!("invalid image name `{name}`: {error}")))?;
            if by_digest && (untagged.tag.is_some() || untagged.digest.is_some()) {
                return Err(ExportError::Output(format!("can't push tagged ref {untagged} by digest")));
            }
            let name = if by_digest { untagged } else { parse_names(name)?.remove(0) };
            named.push((name, self.output.image.insecure));
        }
        Ok(Push {
            images: self.images.clone(),
            reporter: self.progress.reporter().clone(),
            names: named,
            manifests: commit.pushes(self.output.image.assemble.foreign_layers),
            index: commit.index.clone(),
            digest: commit.root.digest,
            by_digest,
            track: None,
        })
    }
}

impl Push {
    /// Goes on with the vertex of the export.
    pub(super) fn tracked(self, track: Track) -> Self {
        Self { track: Some(track), ..self }
    }

    /// Pushes to each name.
    ///
    /// # Errors
    /// If a registry does not take the image.
    pub async fn finish(mut self) -> Result<(), ExportError> {
        let Some(track) = self.track.take() else { return Ok(()) };
        let mut pushed = Ok(());
        for (name, insecure) in &self.names {
            let images = if *insecure { self.images.trusting(&name.registry) } else { self.images.clone() };
            pushed = self.one(&images, name, &track).await;
            if pushed.is_err() {
                break;
            }
        }
        track.end(pushed)
    }

    async fn one(&self, images: &Images, name: &Reference, track: &Track) -> Result<(), ExportError> {
        let failed = |source| ExportError::Push { name: name.to_string(), source };
        let parts = track.parts();
        let pushing = parts.begin("pushing layers");
        images.push_blobs(name, &self.manifests, &self.reporter, track.vertex()).await.map_err(failed)?;
        drop(pushing);
        let shown = if self.by_digest { name.to_string() } else { name.with_digest(self.digest).to_string() };
        let _pushing = parts.begin(format!("pushing manifest for {shown}"));
        images.push_manifests(name, &self.manifests, self.index.as_ref()).await.map_err(failed)?;
        Ok(())
    }
}
