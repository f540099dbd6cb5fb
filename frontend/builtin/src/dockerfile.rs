//! Reading the Dockerfile, and the ignore file beside it.

use std::sync::Arc;

use rbuild_dockerfile::{Diagnostic, MAX_FILE};
use rbuild_graph::{Definition, Graph, pb};
use rbuild_oci::Digest;

use crate::error::{BuiltinError, SourcePlace, ranges};
use crate::host::{Files, Host, Warning};
use crate::ignore::MAX_IGNORE_FILE;
use crate::local::Load;
use crate::place::{DEFAULT_NAME, Origin, Place};

/// A Dockerfile that was read.
pub(crate) struct Read {
    /// Its text.
    pub(crate) text: String,
    /// What `<Dockerfile>.dockerignore` says, if there is such a file.
    pub(crate) ignore: Option<Vec<u8>>,
    /// The file as clients show it.
    pub(crate) info: Arc<pb::SourceInfo>,
    /// The vertex that loaded it.
    vertex: Digest,
}

/// Reads the Dockerfile; `session_of` returns the session that has a directory.
pub(crate) async fn read<'a>(
    place: &Place,
    session_of: impl Fn(&str) -> Option<&'a str>,
    host: &dyn Host,
) -> Result<Read, BuiltinError> {
    let path = &place.filename;
    let beside = format!("{path}.dockerignore");
    let lower = lower_name(path);
    let definition = match &place.dockerfile {
        Origin::Graph(definition) => (**definition).clone(),
        Origin::Local(directory) => {
            let paths: Vec<String> = [path.clone(), beside.clone()].into_iter().chain(lower.clone()).collect();
            let shown = format!("[internal] load build definition from {path}");
            let session = session_of(directory);
            Load { directory, session, paths: &paths, hint: directory, shown: &shown }.definition()
        }
    };
    let vertex = result(&definition)?;
    let files = host.solve(&definition).await.map_err(BuiltinError::host("failed to resolve dockerfile"))?;
    let bytes = read_either(&*files, path, lower.as_deref()).await?;
    let failed = |error| BuiltinError::host(format!("failed to read {beside}"))(error);
    let ignore = files.read_file(&beside, MAX_IGNORE_FILE + 1).await.map_err(failed)?;
    let info = Arc::new(pb::SourceInfo {
        filename: path.clone(),
        data: bytes.clone().into(),
        definition: Some(definition.to_pb()),
        language: DEFAULT_NAME.to_owned(),
    });
    match rbuild_dockerfile::decode(&bytes) {
        Ok(text) => Ok(Read { text: text.into_owned(), ignore, info, vertex }),
        Err(error) => Err(refused(vec![*error], &info)),
    }
}

impl Read {
    /// Tells the warnings among `found`.
    pub(crate) fn warn(&self, found: &[Diagnostic], host: &dyn Host) {
        for warning in found.iter().filter(|diagnostic| !diagnostic.is_error()) {
            host.warn(Warning {
                vertex: self.vertex,
                level: 1,
                short: warning.to_string(),
                detail: warning.rule.iter().map(|rule| rule.description.to_owned()).collect(),
                url: warning.url().unwrap_or_default().to_owned(),
                source: self.info.clone(),
                ranges: ranges(warning.lines),
            });
        }
    }

    /// Returns the error of what was found, of which at least one is an error.
    pub(crate) fn refused(&self, found: Vec<Diagnostic>) -> BuiltinError {
        refused(found, &self.info)
    }
}

fn refused(diagnostics: Vec<Diagnostic>, info: &Arc<pb::SourceInfo>) -> BuiltinError {
    let first = rbuild_dockerfile::first_error(&diagnostics);
    let message = first.map(Diagnostic::to_string).unwrap_or_default();
    let lines = first.iter().flat_map(|error| std::iter::once(error.lines).chain(error.related.iter().copied()));
    let place = SourcePlace { info: info.clone(), ranges: lines.take(MAX_PLACES).map(ranges).collect() };
    BuiltinError::Dockerfile { message, place: Box::new(place), diagnostics }
}

/// The most places that an error is shown with.
const MAX_PLACES: usize = 100;

/// Returns the vertex whose result a graph is.
fn result(definition: &Definition) -> Result<Digest, BuiltinError> {
    let graph = Graph::load(definition)
        .map_err(|error| BuiltinError::Request(format!("failed to resolve dockerfile: {error}")))?;
    let root = graph.root().map(|root| root.vertex);
    root.ok_or_else(|| {
        BuiltinError::Request(format!("failed to read dockerfile: open {DEFAULT_NAME}: no such file or directory"))
    })
}

/// Reads `path`, or the same in lower case.
async fn read_either(files: &dyn Files, path: &str, lower: Option<&str>) -> Result<Vec<u8>, BuiltinError> {
    const ATTEMPT: &str = "failed to read dockerfile";
    for path in [Some(path), lower].into_iter().flatten() {
        let bytes = files.read_file(path, MAX_FILE as u64 + 1).await.map_err(BuiltinError::host(ATTEMPT))?;
        match bytes {
            None => {}
            Some(bytes) if bytes.len() > MAX_FILE => {
                return Err(BuiltinError::Request(format!("{ATTEMPT}: {path} is larger than {MAX_FILE} bytes")));
            }
            Some(bytes) => return Ok(bytes),
        }
    }
    Err(BuiltinError::Request(format!("{ATTEMPT}: open {path}: no such file or directory")))
}

/// Returns the other spelling of a file called `Dockerfile`.
fn lower_name(path: &str) -> Option<String> {
    let directory = path.strip_suffix(DEFAULT_NAME)?;
    let is_name = directory.is_empty() || directory.ends_with('/');
    is_name.then(|| format!("{directory}{}", DEFAULT_NAME.to_lowercase()))
}
