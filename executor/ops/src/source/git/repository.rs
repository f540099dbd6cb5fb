//! The bare repository in which everything fetched from one remote is kept.
//!
//! It is a cache mount of the store: one process at a time, measured by `du`, removed by pruning. A commit
//! that was fetched has a reference of its own (`refs/rbuild/<id>`), so that git does not drop it and offers it
//! when more is fetched.

use std::path::PathBuf;
use std::sync::Arc;

use rbuild_store::{CacheMount, CacheMountRequest, Sharing};

use super::command::{Git, GitError};
use super::remote::Target;
use crate::worker::Worker;
use crate::{OpsError, blocking};

/// Locks that a killed git leaves behind.
const LOCKS: [&str; 4] = ["shallow.lock", "packed-refs.lock", "config.lock", "HEAD.lock"];

/// The repository, locked for this process until it is dropped.
pub(super) struct Repository {
    pub(super) git: Git,
    pub(super) path: PathBuf,
    _mount: Arc<CacheMount>,
}

impl Repository {
    /// Opens the repository for the remote of `git`, waiting for others that use it.
    pub(super) async fn open(worker: &Arc<Worker>, git: &Git, sha256: bool) -> Result<Self, OpsError> {
        let format = if sha256 { "sha256" } else { "sha1" };
        let id = format!("git {format} {}", git.remote);
        let worker = worker.clone();
        let mounts = blocking(move || {
            let request = CacheMountRequest { id, sharing: Sharing::Locked, reset: false };
            worker.store().cache_mounts().acquire(&[request], |_, _| Ok::<_, OpsError>(()))
        });
        let mount = mounts.await?.pop().expect("one request has one answer");
        let path = mount.path();
        for lock in LOCKS {
            let _ = std::fs::remove_file(path.join(lock));
        }
        let git = git.repository(&path).with_origin();
        // Begins a new repository, or completes one that was begun.
        git.run("making a repository", ["init", "--quiet", "--bare", &format!("--object-format={format}")]).await?;
        Ok(Self { git, path, _mount: mount })
    }

    /// Makes sure that the object is here; returns its commit.
    pub(super) async fn fetch(&self, target: &Target) -> Result<String, OpsError> {
        if !self.has(&target.object).await {
            self.obtain(target).await?;
        }
        // What came as part of another commit's history has no reference yet.
        let name = format!("refs/rbuild/{}", target.object);
        self.git.run("keeping a commit", ["update-ref", &name, &target.object]).await?;
        let commit = format!("{}^{{commit}}", target.object);
        let commit = self.git.run("reading a commit", ["rev-parse", "--verify", "--end-of-options", &commit]).await?;
        Ok(commit.trim().to_owned())
    }

    async fn obtain(&self, target: &Target) -> Result<(), OpsError> {
        if let Some(name) = &target.name {
            match self.fetch_one(name).await {
                Err(OpsError::Git(GitError::Failed { complaint, .. })) if complaint.contains("find remote ref") => {}
                other => other?,
            }
            if self.has(&target.object).await {
                return Ok(());
            }
        }
        // The reference has moved on, or a commit was asked for; not every server gives those.
        if self.fetch_one(&target.object).await.is_ok() && self.has(&target.object).await {
            return Ok(());
        }
        self.fetch_all().await?;
        if self.has(&target.object).await {
            return Ok(());
        }
        let message = format!("repository {} does not contain commit {}", self.git.remote, target.object);
        Err(GitError::Content(message).into())
    }

    async fn has(&self, object: &str) -> bool {
        let commit = format!("{object}^{{commit}}");
        self.git.run("looking for a commit", ["cat-file", "-e", &commit]).await.is_ok()
    }

    /// Fetches one reference or commit, without its history if the server can do that.
    async fn fetch_one(&self, what: &str) -> Result<(), OpsError> {
        let plain = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"];
        let shallow = plain.into_iter().chain(["--depth=1", "origin", what]);
        match self.git.run(&self.action(), shallow).await {
            Err(OpsError::Git(GitError::Failed { complaint, .. }))
                if complaint.contains("shallow") || complaint.contains("depth") =>
            {
                self.git.run(&self.action(), plain.into_iter().chain(["origin", what])).await?;
            }
            other => drop(other?),
        }
        Ok(())
    }

    /// Fetches all branches and tags with their history.
    async fn fetch_all(&self) -> Result<(), OpsError> {
        let mut arguments =
            vec!["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--prune"];
        if self.path.join("shallow").exists() {
            arguments.push("--unshallow");
        }
        arguments.extend(["origin", "+refs/heads/*:refs/all/heads/*", "+refs/tags/*:refs/all/tags/*"]);
        self.git.run(&self.action(), arguments).await.map(drop)
    }

    fn action(&self) -> String {
        format!("fetching {}", self.git.remote)
    }

    /// Returns the bytes of an object.
    pub(super) async fn object(&self, kind: &str, id: &str) -> Result<Vec<u8>, OpsError> {
        self.git.bytes(&format!("reading a {kind}"), ["cat-file", kind, id]).await
    }

    /// Returns when a commit was made, in seconds since 1970.
    pub(super) async fn time(&self, commit: &str) -> Result<i64, OpsError> {
        let shown = self.git.run("reading a commit", ["show", "--no-patch", "--format=%ct", commit]).await?;
        let broken = || GitError::Content(format!("commit {commit} has no readable time"));
        Ok(shown.trim().parse().map_err(|_| broken())?)
    }
}
