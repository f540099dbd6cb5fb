//! Files of results, as frontends read them.

use std::path::PathBuf;
use std::sync::Arc;

use rbuild_buildkit_api::fsutil::Stat;
use rbuild_buildkit_api::gateway::{
    self, ReadDirRequest, ReadDirResponse, ReadFileRequest, ReadFileResponse, StatFileRequest, StatFileResponse,
};
use rbuild_ops::{FileRange, OpsError, Ref, Worker};
use rbuild_tree::TreeError;

use crate::build::Build;
use crate::fault::Fault;
use crate::stat;

/// The largest file that is read whole: an answer has at most 16 MiB.
pub(super) const MAX_FILE: u64 = (16 << 20) - (64 << 10);

/// Returns a file's content or a part of it.
pub(super) async fn read(build: &Build, request: ReadFileRequest) -> Result<ReadFileResponse, Fault> {
    let path = request.file_path;
    let range = range(request.range)?;
    let shown = path.clone();
    let action = format!("open {shown}");
    let read = look(build, &request.r#ref, action, move |worker, value| {
        worker.read_range(value, &PathBuf::from(&path), range, MAX_FILE)
    });
    let bytes = read.await?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Fault::new(format!("{shown} is larger than {MAX_FILE} bytes: ask for parts of it")));
    }
    Ok(ReadFileResponse { data: bytes.into() })
}

/// Reads which part of a file is wanted.
pub(super) fn range(asked: Option<gateway::FileRange>) -> Result<Option<FileRange>, Fault> {
    let Some(range) = asked else { return Ok(None) };
    let bounds = (u64::try_from(range.offset), u64::try_from(range.length));
    let (Ok(offset), Ok(length)) = bounds else { return Err(Fault::new("a range is not negative")) };
    Ok(Some(FileRange { offset, length }))
}

/// Returns what is in a directory.
pub(super) async fn list(build: &Build, request: ReadDirRequest) -> Result<ReadDirResponse, Fault> {
    let action = format!("open {}", request.dir_path);
    let (path, pattern) = (PathBuf::from(request.dir_path), request.include_pattern);
    let nodes = look(build, &request.r#ref, action, move |worker, value| {
        worker.list(value, &path, Some(pattern.as_str()).filter(|pattern| !pattern.is_empty()))
    });
    let entries = nodes.await?.iter().map(|node| stat::of(node, node.path.file_name().unwrap_or_default())).collect();
    Ok(ReadDirResponse { entries })
}

/// Returns what is at a path.
pub(super) async fn stat(build: &Build, request: StatFileRequest) -> Result<StatFileResponse, Fault> {
    let (action, path) = (format!("lstat {}", request.path), PathBuf::from(request.path));
    let node = look(build, &request.r#ref, action, move |worker, value| worker.stat(value, &path)).await?;
    let stat: Stat = stat::of(&node, node.path.file_name().unwrap_or_default());
    Ok(StatFileResponse { stat: Some(stat) })
}

/// Looks into a result, which is made if need be. The action is told if the looking fails.
async fn look<T: Send + 'static>(
    build: &Build,
    id: &str,
    action: String,
    question: impl FnOnce(&Worker, &Ref) -> Result<T, OpsError> + Send + 'static,
) -> Result<T, Fault> {
    let lazy = build.result(id)?.ok_or_else(|| Fault::new(format!("empty ref: {id}")))?;
    let value = build.solve(&lazy).await?.value.clone();
    let worker = Arc::clone(build.worker());
    let answered = tokio::task::spawn_blocking(move || question(&worker, &value)).await;
    let answered = answered.map_err(|error| Fault::of(&error))?;
    answered.map_err(|error| told(&error).context(&action))
}

/// Says of a path that is not there what programs look for, and of a tree what is wrong with it.
fn told(error: &OpsError) -> Fault {
    match error {
        OpsError::Tree(TreeError::NotFound { .. }) => Fault::new("no such file or directory"),
        OpsError::Tree(error) => Fault::of(error),
        error => Fault::of(error),
    }
}
