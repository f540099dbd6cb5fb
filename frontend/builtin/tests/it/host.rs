//! A host with directories, repositories and images in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rbuild_builtin::{Files, Host, HostError, Warning};
use rbuild_graph::{Definition, Edge, Graph, Operand, pb};
use rbuild_lower::{ResolveMode, ResolvedImage, ResolvedLayout};
use rbuild_oci::{Digest, ImageConfig, Platform, Reference};

/// Files by path.
pub(crate) type Tree = BTreeMap<String, Vec<u8>>;

/// The host; what it was asked stands in `asked`.
#[derive(Default)]
pub(crate) struct Table {
    /// What is behind identifiers of sources: directories, repositories, downloads (a file `context`, or an archive
    /// under `archive/`).
    pub(crate) sources: BTreeMap<String, Tree>,
    pub(crate) asked: Mutex<Vec<String>>,
    pub(crate) warnings: Mutex<Vec<Warning>>,
}

impl Table {
    /// Adds files of a source.
    pub(crate) fn with(mut self, identifier: &str, files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()));
        self.sources.entry(identifier.to_owned()).or_default().extend(files);
        self
    }

    fn ask(&self, question: impl Into<String>) {
        self.asked.lock().unwrap().push(question.into());
    }

    fn evaluate(&self, graph: &Graph, edge: Edge) -> Result<Tree, String> {
        let vertex = graph.vertex(&edge.vertex).unwrap();
        match vertex.kind() {
            pb::Kind::Source(source) => {
                let attrs: Vec<String> = source.attrs.iter().map(|(key, value)| format!("{key}={value}")).collect();
                self.ask(format!("{}: {} {}", vertex.name, source.identifier, attrs.join(" ")).trim());
                self.sources.get(&source.identifier).cloned().ok_or_else(|| format!("no {}", source.identifier))
            }
            pb::Kind::File(file) => {
                let Some(pb::Action::Copy(copy)) = &file.actions[0].action else { return Err("no copy".to_owned()) };
                let Operand::Input(input) = vertex.operand(file.actions[0].secondary_input) else {
                    return Err("copy of nothing".to_owned());
                };
                let tree = self.evaluate(graph, vertex.inputs[input])?;
                let inside = if copy.attempt_unpack_docker_compatibility { "archive/" } else { "" };
                let inside = tree.iter().filter_map(|(path, bytes)| Some((path.strip_prefix(inside)?, bytes)));
                Ok(inside.map(|(path, bytes)| (path.to_owned(), bytes.clone())).collect())
            }
            other => Err(format!("cannot evaluate {other:?}")),
        }
    }
}

fn failed(reason: impl Into<String>) -> HostError {
    let boxed: Box<dyn std::error::Error + Send + Sync> = reason.into().into();
    boxed.into()
}

/// An image whose architecture is the one asked for.
pub(crate) const IMAGE: &str = r#"{"architecture":"ARCH","os":"linux","config":{"Env":["PATH=/bin","A=1"]},
    "rootfs":{"type":"layers","diff_ids":["sha256:1111111111111111111111111111111111111111111111111111111111111111"]},
    "history":[{"created_by":"base"}]}"#;

fn image(platform: &Platform) -> ImageConfig {
    serde_json::from_str(&IMAGE.replace("ARCH", &platform.architecture)).unwrap()
}

#[async_trait]
impl Host for Table {
    async fn solve(&self, definition: &Definition) -> Result<Arc<dyn Files>, HostError> {
        let graph = Graph::load(definition).map_err(|error| failed(error.to_string()))?;
        let root = graph.root().ok_or_else(|| failed("nothing to evaluate"))?;
        let tree = self.evaluate(&graph, root).map_err(failed)?;
        Ok(Arc::new(Evaluated(tree)))
    }

    async fn resolve_image(
        &self,
        reference: &Reference,
        platform: &Platform,
        mode: ResolveMode,
        shown: &str,
    ) -> Result<ResolvedImage, HostError> {
        self.ask(format!("{shown} {platform} {mode:?}"));
        if reference.to_string().contains("missing") {
            return Err(failed(format!("{reference}: not found")));
        }
        let mut image = image(platform);
        if reference.to_string().contains("scanner") {
            image.config.cmd = Some(vec!["/scan".to_owned()]);
        }
        let reference = reference.with_digest(Digest::of(reference.to_string().as_bytes()));
        Ok(ResolvedImage { reference, config: Vec::new(), image })
    }

    async fn resolve_layout(
        &self,
        store: &str,
        digest: Digest,
        platform: &Platform,
        shown: &str,
    ) -> Result<ResolvedLayout, HostError> {
        self.ask(format!("{shown} {store} {digest} {platform}"));
        Ok(ResolvedLayout { config: Vec::new(), image: image(platform) })
    }

    async fn source_time(&self, source: &pb::SourceOp, shown: &str) -> Result<Option<i64>, HostError> {
        self.ask(format!("{shown} {}", source.identifier));
        Ok(Some(1000))
    }

    fn warn(&self, warning: Warning) {
        self.warnings.lock().unwrap().push(warning);
    }
}

struct Evaluated(Tree);

#[async_trait]
impl Files for Evaluated {
    async fn read_file(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, HostError> {
        let limit = usize::try_from(limit).unwrap();
        match self.0.get(path) {
            Some(bytes) if bytes == b"unreadable" => Err(failed(format!("{path}: input/output error"))),
            found => Ok(found.map(|bytes| bytes[..bytes.len().min(limit)].to_vec())),
        }
    }

    async fn is_archive(&self, _: &str) -> Result<bool, HostError> {
        Ok(self.0.keys().any(|path| path.starts_with("archive/")))
    }
}
