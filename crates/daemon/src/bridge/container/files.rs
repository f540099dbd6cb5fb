//! Files of containers, as frontends read them while processes run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild_buildkit_api::gateway::{
    ReadDirRequest, ReadDirResponse, ReadFileRequest, ReadFileResponse, StatFileRequest, StatFileResponse,
};
use rbuild_ops::{Container, OpsError};

use super::name;
use crate::bridge::files::{MAX_FILE, range};
use crate::build::Build;
use crate::fault::Fault;
use crate::stat;

/// Returns a file's content or a part of it.
pub(in crate::bridge) async fn read(build: &Build, request: ReadFileRequest) -> Result<ReadFileResponse, Fault> {
    let (range, shown) = (range(request.range)?, request.file_path.clone());
    let read = look(build, &request.r#ref, request.mount_index, request.file_path, move |container, mount, path| {
        container.read_file(mount, path, range, MAX_FILE)
    });
    let bytes = read.await.map_err(|fault| fault.context(&format!("open {shown}")))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Fault::new(format!("{shown} is larger than {MAX_FILE} bytes: ask for parts of it")));
    }
    Ok(ReadFileResponse { data: bytes.into() })
}

/// Returns what is in a directory.
pub(in crate::bridge) async fn list(build: &Build, request: ReadDirRequest) -> Result<ReadDirResponse, Fault> {
    let pattern = request.include_pattern;
    let nodes = look(build, &request.r#ref, request.mount_index, request.dir_path, move |container, mount, path| {
        container.list(mount, path, Some(pattern.as_str()).filter(|pattern| !pattern.is_empty()))
    });
    let entries = nodes.await?.iter().map(|node| stat::of(node, node.path.file_name().unwrap_or_default())).collect();
    Ok(ReadDirResponse { entries })
}

/// Returns what is at a path.
pub(in crate::bridge) async fn stat(build: &Build, request: StatFileRequest) -> Result<StatFileResponse, Fault> {
    let shown = request.path.clone();
    let node = look(build, &request.r#ref, request.mount_index, request.path, |container, mount, path| {
        container.stat(mount, path)
    });
    let node = node.await.map_err(|fault| fault.context(&format!("lstat {shown}")))?;
    Ok(StatFileResponse { stat: Some(stat::of(&node, node.path.file_name().unwrap_or_default())) })
}

/// Looks into what a mount of a container shows.
async fn look<T: Send + 'static>(
    build: &Build,
    id: &str,
    mount: i32,
    path: String,
    question: impl FnOnce(&Container, usize, &Path) -> Result<T, OpsError> + Send + 'static,
) -> Result<T, Fault> {
    let unknown = || Fault::new(format!("container details for {}@{mount} not found", name(id)));
    let held = build.containers().find(id).ok_or_else(unknown)?;
    let container = Arc::clone(&held.container);
    let path = PathBuf::from(path);
    if !path.is_absolute() {
        return Err(Fault::new(format!("can't make {} relative to /", path.display())));
    }
    let mount = usize::try_from(mount).unwrap_or(usize::MAX);
    let answered = tokio::task::spawn_blocking(move || question(&container, mount, &path)).await;
    Ok(answered.map_err(|error| Fault::of(&error))??)
}
