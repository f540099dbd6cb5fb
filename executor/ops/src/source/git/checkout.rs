//! From a commit to a layer: files are checked out to a directory of our own, looked at, and written.

use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rbuild_store::{Kind as RecordKind, LayerId};
use rbuild_sys::root::Root;
use rbuild_tree::context::{ContextIndex, scan};
use rbuild_tree::pattern::Matcher;
use rbuild_tree::{Kind, Metadata, Node, Time, Xattrs};

use super::command::{Git, GitError};
use super::remote::Target;
use super::repository::Repository;
use crate::file::{Body, Draft, Empty};
use crate::worker::Worker;
use crate::{OpsError, blocking};

/// Threads that list a checkout.
const SCAN_THREADS: usize = 2;

/// What becomes of a commit.
#[derive(Debug, Clone)]
pub(super) struct Checkout {
    /// The directory of the repository that is taken; empty for all.
    pub(super) directory: PathBuf,
    /// Whether `.git` stays.
    pub(super) keep_git_dir: bool,
    /// Whether submodules are fetched.
    pub(super) submodules: bool,
    /// The time of all files; none keeps that of the checkout.
    pub(super) time: Option<i64>,
    pub(super) description: String,
}

impl Checkout {
    /// Writes the layer.
    pub(super) async fn layer(
        self,
        worker: &Arc<Worker>,
        repository: &Repository,
        target: &Target,
        commit: &str,
    ) -> Result<LayerId, OpsError> {
        let scratch = worker.scratch()?;
        let scratch = tempfile::Builder::new().prefix("git-").tempdir_in(scratch);
        let scratch = scratch.map_err(|error| OpsError::io("making a directory for a checkout", error))?;
        let files = scratch.path().join("files");
        std::fs::create_dir(&files).map_err(|error| OpsError::io("making a directory for a checkout", error))?;
        if self.keep_git_dir || self.submodules && has_submodules(repository, commit).await? {
            self.clone_to(&files, repository, target, commit).await?;
        } else {
            let mut git = repository.git.work_tree(&files);
            git.variable("GIT_INDEX_FILE", scratch.path().join("index"));
            git.run("checking out files", ["read-tree", "--reset", "-u", commit]).await?;
        }
        let worker = worker.clone();
        blocking(move || {
            let layer = self.write(&worker, &files)?;
            // Renamed away at once, removed when there is time.
            worker.store().discard(scratch.path())?;
            Ok(layer)
        })
        .await
    }

    /// Makes a repository of its own with one commit, and the submodules if they are wanted.
    async fn clone_to(
        &self,
        files: &Path,
        repository: &Repository,
        target: &Target,
        commit: &str,
    ) -> Result<(), OpsError> {
        let git = repository.git.without_origin().repository(&files.join(".git")).work_tree(files);
        let format = if commit.len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
        git.run("making a repository", ["init", "--quiet", format]).await?;
        let from = format!("file://{}", repository.path.to_string_lossy().replace('%', "%25"));
        let kept = format!("refs/rbuild/{}", target.object);
        let wanted = match &target.name {
            Some(name) => format!("+{kept}:{name}"),
            None => kept,
        };
        let fetch = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--depth=1",
            "--update-head-ok",
            "--no-recurse-submodules",
            &from,
            &wanted,
        ];
        git.run("copying a commit", fetch).await?;
        git.run("checking out files", ["checkout", "--quiet", "--detach", commit]).await?;
        git.run("naming the origin", ["config", "remote.origin.url", &git.remote.public()]).await?;
        git.run("naming the origin", ["config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"]).await?;
        if self.submodules { submodules(&git).await } else { Ok(()) }
    }

    fn write(&self, worker: &Worker, files: &Path) -> Result<LayerId, OpsError> {
        let top = files.join(&self.directory);
        if !self.directory.as_os_str().is_empty() {
            let open = Root::open(files).and_then(|root| root.open_dir_exact(&self.directory));
            open.map_err(|error| no_directory(&self.directory, error))?;
        }
        let listing = Arc::new(scan(&top, &Matcher::default(), ContextIndex::default(), SCAN_THREADS)?);
        let mut draft = Draft::new(Arc::new(Empty));
        for node in listing.entries().iter().filter(|node| self.keeps(&node.path)) {
            let is_file = node.metadata.kind.is_file();
            let body = if is_file { Body::Tree(listing.clone(), Box::new(node.clone())) } else { Body::None };
            draft.put(&node.path, self.metadata(node), body, None)?;
        }
        worker.write_layer_of(RecordKind::Git, draft, &self.description)
    }

    /// `.git` goes unless it is wanted, and so do those of submodules. Nothing else can have that name.
    fn keeps(&self, path: &Path) -> bool {
        let is_git = |name: &OsStr| name == ".git";
        if self.keep_git_dir {
            let mut names = path.components().map(Component::as_os_str);
            return !(names.next().is_some_and(is_git) && path.file_name() == Some(OsStr::new("FETCH_HEAD")));
        }
        !path.components().any(|component| is_git(component.as_os_str()))
    }

    /// Modes are what git knows of them: executable or not (D011).
    fn metadata(&self, node: &Node) -> Metadata {
        let mode = match &node.metadata.kind {
            Kind::Symlink(_) => 0o777,
            Kind::File if node.metadata.mode & 0o100 == 0 => 0o644,
            _ => 0o755,
        };
        let mtime = self.time.map_or(node.metadata.mtime, Time::from_seconds);
        Metadata { mode, uid: 0, gid: 0, mtime, xattrs: Xattrs::new(), ..node.metadata.clone() }
    }
}

fn no_directory(directory: &Path, error: io::Error) -> OpsError {
    let what = match error.kind() {
        io::ErrorKind::NotFound => "is not in the repository",
        _ => "is not a directory of the repository",
    };
    GitError::Content(format!("invalid subdir `{}`: it {what}", directory.display())).into()
}

async fn has_submodules(repository: &Repository, commit: &str) -> Result<bool, OpsError> {
    let listed =
        repository.git.run("reading a commit", ["ls-tree", "--name-only", commit, "--", ".gitmodules"]).await?;
    Ok(!listed.trim().is_empty())
}

/// Fetches all submodules, without history if the servers can do that.
async fn submodules(git: &Git) -> Result<(), OpsError> {
    let action = format!("fetching the submodules of {}", git.remote);
    let update = ["submodule", "--quiet", "update", "--init", "--recursive", "--checkout"];
    if git.run(&action, update.into_iter().chain(["--depth=1"])).await.is_ok() {
        return Ok(());
    }
    git.run(&action, update).await.map(drop)
}
