//! The files of a result, in a directory or as one tar.

use std::collections::BTreeMap;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rbuild_events::{Reporter, Silent};
use rbuild_oci::Digest;
use rbuild_tree::FileTree;

use super::archive::finished;
use super::{Exported, Work};
use crate::ExportError;
use crate::attestation::{Attestation, NamedSubject, unbundle};
use crate::destination::{Destination, DirectoryMode};
use crate::files::export_tar;
use crate::merged::{Merged, Source};
use crate::result::Part;

impl Work<'_> {
    pub(super) fn directory(&self, destination: &dyn Destination) -> Result<Exported, ExportError> {
        let split = self.output.platform_split.unwrap_or(self.is_map);
        let mode = self.output.mode;
        let sources = self.sources(split)?;
        if !split && sources.len() > 1 || mode == DirectoryMode::Delete {
            let tree = Merged::new(sources);
            tree.check()?;
            self.copy(destination, Arc::new(tree), mode, "copying files")?;
            return Ok(Exported::default());
        }
        for source in sources {
            let name = if split { format!("copying files {}", source.name) } else { "copying files".to_owned() };
            self.copy(destination, plain(source).into(), mode, &name)?;
        }
        Ok(Exported::default())
    }

    fn copy(
        &self,
        destination: &dyn Destination,
        tree: Arc<dyn FileTree>,
        mode: DirectoryMode,
        name: &str,
    ) -> Result<(), ExportError> {
        let mut part = self.progress.begin(name);
        let mut shown = std::time::Instant::now();
        let mut last = 0;
        let mut progress = |written: u64| {
            last = written;
            if shown.elapsed() > std::time::Duration::from_millis(100) {
                shown = std::time::Instant::now();
                part.advance(written);
            }
        };
        let copied = destination.directory(tree, mode, &mut progress);
        part.advance(last);
        copied
    }

    pub(super) fn tar(&self, destination: &dyn Destination) -> Result<Exported, ExportError> {
        let split = self.output.platform_split.unwrap_or(self.is_map);
        let mut sources = self.sources(split)?;
        let tree: Box<dyn FileTree> = match sources.len() {
            1 => plain(sources.remove(0)),
            _ => {
                let tree = Merged::new(sources);
                if !split {
                    tree.check()?;
                }
                Box::new(tree)
            }
        };
        let stream = destination.stream(&BTreeMap::new())?;
        let _sending = self.progress.begin("sending tarball");
        export_tar(&*tree, BufWriter::with_capacity(256 << 10, stream)).and_then(finished)?;
        Ok(Exported::default())
    }

    fn sources(&self, split: bool) -> Result<Vec<Source>, ExportError> {
        self.parts.iter().map(|part| self.source(part, split)).collect()
    }

    fn source(&self, part: &Part, split: bool) -> Result<Source, ExportError> {
        let silent: Arc<dyn Reporter> = Arc::new(Silent);
        let tree = self.images.view(&part.layers, &silent, Digest::of(b""))?;
        let mut source = Source {
            name: part.id.clone(),
            folder: split.then(|| folder(&part.id)),
            tree: Box::new(tree),
            extra: BTreeMap::new(),
            epoch: part.epoch,
        };
        source.extra = self.attestations(part, &*source.tree, self.is_map && !split)?;
        Ok(source)
    }

    /// Returns what is attested about the files, as files beside them.
    fn attestations(
        &self,
        part: &Part,
        tree: &dyn FileTree,
        named: bool,
    ) -> Result<BTreeMap<PathBuf, Bytes>, ExportError> {
        let counts = |attestation: &&Attestation| !attestation.is_inline_only();
        let given: Vec<_> = part.attestations.iter().filter(counts).cloned().collect();
        let mut files = BTreeMap::new();
        if given.is_empty() {
            return Ok(files);
        }
        let subjects = subjects(tree)?;
        for attestation in unbundle(self.images, &given)? {
            let base = Path::new(&attestation.path).file_name().unwrap_or_default().to_string_lossy();
            let mut name = format!("{}{base}", self.output.attestation_prefix);
            if named {
                let (stem, extension) = name.rsplit_once('.').unwrap_or((&name, ""));
                let dot = if extension.is_empty() { "" } else { "." };
                name = format!("{stem}.{}{dot}{extension}", part.id.replace('/', "_"));
            }
            let refused = |reason: &str| ExportError::Attestation { path: name.clone(), reason: reason.to_owned() };
            if name.contains('/') || matches!(name.as_str(), "" | "." | "..") {
                return Err(refused("is not the name of a file"));
            }
            let text = attestation.statement(self.images, &subjects)?.indented();
            if files.insert(PathBuf::from(&name), Bytes::from(text)).is_some() {
                return Err(refused("duplicate attestation path name"));
            }
        }
        Ok(files)
    }
}

/// Returns the tree of a source; as it is, if nothing is to be added to it.
fn plain(source: Source) -> Box<dyn FileTree> {
    if source.folder.is_none() && source.extra.is_empty() && source.epoch.is_none() {
        return source.tree;
    }
    Box::new(Merged::new(vec![source]))
}

/// Returns the directory of one platform's files beside those of others.
fn folder(id: &str) -> PathBuf {
    let name = id.replace('/', "_");
    if matches!(name.as_str(), "" | "." | "..") { PathBuf::from("_") } else { PathBuf::from(name) }
}

/// Returns all regular files with their digests.
fn subjects(tree: &dyn FileTree) -> Result<Vec<NamedSubject>, ExportError> {
    let mut subjects = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        let nodes = tree.children(&path)?;
        let files: Vec<_> = nodes.iter().filter(|node| node.metadata.kind.is_file()).collect();
        let digests = tree.file_digests(&files)?;
        let named = files.iter().zip(&digests);
        subjects.extend(named.map(|(node, digest)| NamedSubject::new(node.path.display().to_string(), digest)));
        waiting.extend(nodes.into_iter().filter(|node| node.metadata.kind.is_directory()).map(|node| node.path));
    }
    subjects.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(subjects)
}
