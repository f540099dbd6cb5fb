//! A build context behind an address: fetched by the operations that build upon it, and looked into for the
//! Dockerfile first.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rbuild_dockerfile::MAX_FILE;
use rbuild_events::Track;
use rbuild_graph::{Definition, Graph, pb, source};
use rbuild_lower::{MainContext, remote_context};
use rbuild_ops::{OpsError, Ref, Worker, resolve};
use rbuild_solver::{Edge, Job};

use crate::error::BuildError;
use crate::input::{self, Input};
use crate::request::{BuildRequest, ContextSource, DockerfileSource};

/// What a downloaded context is called in its result.
const DOWNLOADED: &str = "context";

/// Fetches what is not here. As long as it lives, what it fetched is what the build finds behind an address.
pub(crate) struct Fetcher {
    pub(crate) job: Job<Ref>,
    pub(crate) worker: Arc<Worker>,
}

impl Fetcher {
    /// Fetches the context and reads the Dockerfile in it.
    pub(crate) async fn input(
        &self,
        request: &BuildRequest,
        build_args: &BTreeMap<String, String>,
        stdin: fn() -> Box<dyn Read + Send>,
    ) -> Result<Input, BuildError> {
        let (context, value) = self.context(&request.context, build_args).await?;
        let track = Track::start(self.worker.reporter(), "[internal] load build definition from Dockerfile");
        let (worker, request, is_file) =
            (self.worker.clone(), request.clone(), matches!(context, MainContext::File(_)));
        let read = blocking(move || match (&request.dockerfile, is_file) {
            (DockerfileSource::Stdin, _) => {
                let text = input::text(&input::read_limited(&mut stdin(), "standard input")?, &request)?;
                Ok(("Dockerfile".to_owned(), text))
            }
            (_, true) => Ok((
                "Dockerfile".to_owned(),
                input::text(&dockerfile(&worker, &value, &[DOWNLOADED.into()])?.1, &request)?,
            )),
            (given, false) => {
                let candidates = match given {
                    DockerfileSource::Path(path) if path.ends_with("Dockerfile") => {
                        vec![inside(path), inside(&path.with_file_name("dockerfile"))]
                    }
                    DockerfileSource::Path(path) => vec![inside(path)],
                    _ => vec!["Dockerfile".into(), "dockerfile".into()],
                };
                let (name, bytes) = dockerfile(&worker, &value, &candidates)?;
                Ok((name, input::text(&bytes, &request)?))
            }
        });
        let (filename, text) = track.end(read.await)?;
        Ok(Input { filename, text, directory: None, context, time: None, unpacked: None })
    }

    async fn context(
        &self,
        source: &ContextSource,
        build_args: &BTreeMap<String, String>,
    ) -> Result<(MainContext, Ref), BuildError> {
        let address = match source {
            ContextSource::Git(address) => {
                let context = MainContext::Git(address.clone());
                let value = self.fetch(&context, build_args).await?;
                return Ok((context, value));
            }
            ContextSource::Http(address) => address,
            ContextSource::Directory(_) | ContextSource::Stdin => {
                return Err(BuildError::Input("the build context has no address".to_owned()));
            }
        };
        let file = MainContext::File(address.clone());
        let value = self.fetch(&file, build_args).await?;
        let (worker, downloaded) = (self.worker.clone(), value.clone());
        let is_archive =
            blocking(move || worker.is_archive(&downloaded, Path::new(DOWNLOADED)).map_err(BuildError::engine));
        if !is_archive.await? {
            return Ok((file, value));
        }
        let archive = MainContext::Archive(address.clone());
        let value = self.fetch(&archive, build_args).await?;
        Ok((archive, value))
    }

    async fn fetch(&self, context: &MainContext, build_args: &BTreeMap<String, String>) -> Result<Ref, BuildError> {
        let definition = remote_context(context, build_args).map_err(BuildError::Input)?;
        let definition = definition.ok_or_else(|| BuildError::Input("the build context has no address".to_owned()))?;
        self.solve(&definition).await
    }

    async fn solve(&self, definition: &Definition) -> Result<Ref, BuildError> {
        let graph = Graph::load(definition).map_err(BuildError::engine)?;
        let root = graph.root().ok_or_else(|| BuildError::Engine("a graph without a result".to_owned()))?;
        let operations = resolve(&graph, &self.worker).map_err(BuildError::input)?;
        let target = Edge { vertex: root.vertex, output: root.output };
        let solved = self.job.solve(&operations, &[target]).await;
        let solved = solved.map_err(|error| BuildError::solve(&error, &graph, "", &Arc::from("")))?;
        Ok(solved.into_iter().next().expect("one target has one value").value)
    }

    /// Returns the time that a source carries, in seconds since 1970.
    pub(crate) async fn time(&self, op: &pb::SourceOp) -> Result<Option<i64>, BuildError> {
        if op.identifier.starts_with(source::GIT) {
            return self.worker.commit_time(op).await.map_err(BuildError::engine);
        }
        let name = op.attrs.get(source::attr::HTTP_FILENAME).cloned().unwrap_or_default();
        let mut builder = rbuild_graph::Builder::new();
        let vertex = pb::Op {
            op: Some(pb::Kind::Source(op.clone())),
            constraints: Some(pb::WorkerConstraints::default()),
            ..pb::Op::default()
        };
        let output = builder.add(vertex, Vec::new(), &pb::OpMetadata::default(), &[]).output(0);
        let value = self.solve(&builder.finish(Some(output), Vec::new())).await?;
        let worker = self.worker.clone();
        blocking(move || worker.file_time(&value, Path::new(&name)).map_err(BuildError::engine)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BuildError> + Send + 'static,
) -> Result<T, BuildError> {
    tokio::task::spawn_blocking(work).await.map_err(BuildError::engine)?
}

/// Reads the first of the paths that is there; returns its name and content.
fn dockerfile(worker: &Worker, value: &Ref, candidates: &[PathBuf]) -> Result<(String, Vec<u8>), BuildError> {
    let failed = |path: &Path, error: &OpsError| {
        BuildError::Input(format!("failed to read dockerfile: {}: {}", path.display(), BuildError::chain(error)))
    };
    for path in candidates {
        let found = worker.read_file(value, path, MAX_FILE as u64).map_err(|error| failed(path, &error))?;
        if let Some(bytes) = found {
            if bytes.len() > MAX_FILE {
                return Err(BuildError::Input(format!(
                    "failed to read dockerfile: {} is larger than {MAX_FILE} bytes",
                    path.display()
                )));
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Ok((name, bytes));
        }
    }
    let name = candidates.first().map_or("Dockerfile".into(), |path| path.display().to_string());
    Err(BuildError::Input(format!(
        "failed to read dockerfile: open {name}: no such file or directory in the build context"
    )))
}

/// Returns a path as one inside the context.
fn inside(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir)).collect()
}
