//! A git repository as a source: known by its commit, fetched into a repository of the store.
//!
//! `remote` reads addresses and names, `command` runs git, `repository` keeps what was fetched, `checkout`
//! makes a layer of a commit.

mod checkout;
mod command;
mod remote;
mod repository;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use rbuild_graph::pb;
use rbuild_graph::source::{self, attr};
use rbuild_oci::Digest;
use rbuild_solver::{CacheMap, Context, Operation, OperationError};
use tokio::sync::OnceCell;

use super::attributes::Attributes;
use super::metadata::GitMetadata;
use crate::OpsError;
use crate::ssh::AgentProxy;
use crate::value::Ref;
use crate::worker::Worker;

use checkout::Checkout;
use command::{Git, ssh_command};
use remote::{Remote, Transport};
use repository::Repository;

pub use command::GitError;
pub(super) use remote::Target;

/// A repository ready to be asked.
pub(crate) struct GitSource {
    worker: Arc<Worker>,
    remote: Remote,
    reference: String,
    directory: PathBuf,
    checksum: Option<String>,
    keep_git_dir: bool,
    submodules: bool,
    commit_time: bool,
    fetch_by_commit: bool,
    token_secret: Option<String>,
    header_secret: Option<String>,
    agent: Option<String>,
    known_hosts: Option<String>,
    target: Arc<OnceCell<Target>>,
}

/// Git with what it needs for one remote; temporary files go with it.
struct Prepared {
    git: Git,
    /// Before the directory that its socket is in.
    _agent: Option<AgentProxy>,
    _scratch: tempfile::TempDir,
}

impl GitSource {
    /// Reads the source op.
    pub(crate) fn new(worker: Arc<Worker>, op: &pb::SourceOp) -> Result<Self, OpsError> {
        let mut attributes = Attributes::new(op);
        let identifier = op.identifier.strip_prefix(source::GIT).unwrap_or(&op.identifier);
        let (address, fragment) = identifier.split_once('#').unwrap_or((identifier, ""));
        let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
        let address = attributes.take(attr::FULL_REMOTE_URL).unwrap_or_else(|| address.to_owned());
        let remote = Remote::parse(&address).map_err(|error| attributes.invalid(error))?;
        if !reference.is_empty() && !remote::is_reference(reference) {
            return Err(attributes.invalid(format!("invalid git ref `{}`", reference.escape_debug())));
        }
        let checksum = attributes.take(attr::GIT_CHECKSUM);
        if let Some(checksum) = checksum.as_deref().filter(|text| !text.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            return Err(
                attributes.invalid(format!("invalid checksum {checksum} for Git URL, expected hex commit hash"))
            );
        }
        let commit_time = match attributes.take(attr::GIT_MTIME).as_deref() {
            None | Some("checkout") => false,
            Some("commit") => true,
            Some(other) => return Err(attributes.invalid(format!("invalid mtime `{other}`: checkout or commit"))),
        };
        let directory = clean(directory);
        let mut found = Self {
            worker,
            remote,
            reference: reference.to_owned(),
            keep_git_dir: attributes.flag(attr::KEEP_GIT_DIR) && directory.as_os_str().is_empty(),
            directory,
            checksum: checksum.map(|checksum| checksum.to_ascii_lowercase()),
            submodules: !attributes.flag(attr::GIT_SKIP_SUBMODULES),
            commit_time,
            fetch_by_commit: attributes.flag(attr::GIT_FETCH_BY_COMMIT),
            token_secret: attributes.take(attr::AUTH_TOKEN_SECRET),
            header_secret: attributes.take(attr::AUTH_HEADER_SECRET),
            agent: attributes.take(attr::MOUNT_SSH_SOCK),
            known_hosts: attributes.take(attr::KNOWN_SSH_HOSTS),
            target: Arc::default(),
        };
        attributes.end("git.")?;
        let question = (&address, reference, &found.checksum, found.fetch_by_commit);
        found.target = found.worker.resolved().git.place(format!("{question:?}"));
        Ok(found)
    }

    /// Returns when the commit was made, in seconds since 1970.
    pub(crate) async fn commit_time(&self) -> Result<i64, OpsError> {
        let target = self.target().await?;
        let prepared = self.prepare().await?;
        let (repository, commit) = self.fetch(&prepared, target).await?;
        repository.time(&commit).await
    }

    /// Returns what the source is, with the bytes of its objects if they are wanted.
    pub(super) async fn metadata(&self, objects: bool) -> Result<GitMetadata, OpsError> {
        let target = self.target().await?;
        let mut metadata = GitMetadata {
            object: target.object.clone(),
            name: target.name.clone().unwrap_or_else(|| target.object.clone()),
            commit: target.commit.clone(),
            commit_bytes: Vec::new(),
            tag_bytes: Vec::new(),
        };
        if objects {
            let prepared = self.prepare().await?;
            let (repository, commit) = self.fetch(&prepared, target).await?;
            metadata.commit_bytes = repository.object("commit", &commit).await?;
            if commit != target.object {
                metadata.tag_bytes = repository.object("tag", &target.object).await?;
            }
        }
        Ok(metadata)
    }

    async fn target(&self) -> Result<&Target, OpsError> {
        self.target.get_or_try_init(|| self.find()).await
    }

    /// Finds the commit; asks the remote unless the source says it.
    async fn find(&self) -> Result<Target, OpsError> {
        let commit = |object: &str| Target { name: None, object: object.to_owned(), commit: None };
        if remote::is_object(&self.reference) {
            self.verify(&[&self.reference])?;
            return Ok(commit(&self.reference));
        }
        if self.fetch_by_commit {
            return match self.checksum.as_deref().filter(|checksum| remote::is_object(checksum)) {
                Some(checksum) => Ok(commit(checksum)),
                None => {
                    Err(GitError::Content("fetch-by-commit requires a full commit hash as checksum or ref".to_owned())
                        .into())
                }
            };
        }
        let prepared = self.prepare().await?;
        let git = prepared.git.with_origin();
        let name = if self.reference.is_empty() { "HEAD" } else { &self.reference };
        let peeled = format!("{name}^{{}}");
        let listed =
            git.run(&format!("asking {}", self.remote), ["ls-remote", "--symref", "origin", name, &peeled]).await?;
        let target = remote::find(&listed, &self.reference)
            .ok_or_else(|| GitError::Content(format!("repository does not contain ref {name}: {}", self.remote)))?;
        self.verify(&[&target.object, target.commit.as_deref().unwrap_or_default()])?;
        Ok(target)
    }

    /// Checks that one of the objects is the one that was named.
    fn verify(&self, objects: &[&str]) -> Result<(), OpsError> {
        let Some(checksum) = &self.checksum else { return Ok(()) };
        if objects.iter().any(|object| object.starts_with(checksum)) {
            return Ok(());
        }
        let found: Vec<_> = objects.iter().filter(|object| !object.is_empty()).copied().collect();
        Err(GitError::Content(format!("expected checksum to match {checksum}, got {}", found.join(" or "))).into())
    }

    async fn fetch(&self, prepared: &Prepared, target: &Target) -> Result<(Repository, String), OpsError> {
        let repository = Repository::open(&self.worker, &prepared.git, target.object.len() == 64).await?;
        let commit = repository.fetch(target).await?;
        self.verify(&[&target.object, &commit])?;
        Ok((repository, commit))
    }

    /// The same commit is the same file tree, wherever it comes from (K010).
    fn key(&self, target: &Target) -> Digest {
        let mut key = "rbuild.git.v1\0".to_owned();
        match &target.commit {
            Some(commit) if !self.keep_git_dir => key.push_str(commit),
            _ => key.push_str(&target.object),
        }
        if self.keep_git_dir {
            // The repository remembers where it came from.
            key.push_str(&format!(".git#{}@{}", target.name.as_deref().unwrap_or_default(), self.remote));
        }
        key.push_str(&format!("\0{}", self.directory.display()));
        if !self.submodules {
            key.push_str("\0skip-submodules");
        }
        if self.commit_time {
            key.push_str("\0mtime=commit");
        }
        Digest::of(key.as_bytes())
    }

    /// Prepares git with proxies and with the credentials that the client has for this remote.
    async fn prepare(&self) -> Result<Prepared, OpsError> {
        let scratch = tempfile::Builder::new().prefix("git-").tempdir_in(self.worker.scratch()?);
        let scratch = scratch.map_err(|error| OpsError::io("making a directory for git", error))?;
        let mut git = Git::new(self.remote.clone(), self.worker.session().search_path(), scratch.path());
        let options = self.worker.images().client()?.options();
        if let Some(bundle) = options.ca_bundles.iter().rfind(|bundle| bundle.is_file()) {
            git.set("http.sslCAInfo", bundle.to_string_lossy());
        }
        let proxies = &options.proxies;
        for (name, value) in
            [("http_proxy", &proxies.http), ("https_proxy", &proxies.https), ("no_proxy", &proxies.no_proxy)]
        {
            if let Some(value) = value {
                git.variable(name, value);
            }
        }
        let mut agent = None;
        match self.remote.transport {
            Transport::Ssh => agent = self.prepare_ssh(&mut git, scratch.path()).await?,
            Transport::Http => {
                if let Some(header) = self.header().await? {
                    git.set(format!("http.{}.extraHeader", self.remote.scope()), format!("Authorization: {header}"));
                }
            }
            Transport::Git | Transport::File => {}
        }
        git.check().await?;
        Ok(Prepared { git, _agent: agent, _scratch: scratch })
    }

    /// Tells git how to use ssh; returns what must live as long as git does.
    async fn prepare_ssh(&self, git: &mut Git, scratch: &Path) -> Result<Option<AgentProxy>, OpsError> {
        let mut proxy = None;
        if let Some(id) = &self.agent {
            let failed = |source| OpsError::Agent { id: id.clone(), source };
            let agent = self.worker.session().ssh_agent(id).await.map_err(failed)?;
            let agent = agent.ok_or_else(|| OpsError::NoAgent(id.clone()))?;
            match agent.path() {
                Some(path) => git.variable("SSH_AUTH_SOCK", path),
                None => {
                    let owner = rbuild_sys::dirfd::current_owner();
                    let started = AgentProxy::start(agent, scratch, owner, 0o600).map_err(failed)?;
                    git.variable("SSH_AUTH_SOCK", started.socket());
                    proxy = Some(started);
                }
            }
        }
        let (path, strict) = match &self.known_hosts {
            None => (self.worker.store().contexts_dir().join("ssh-known-hosts"), false),
            Some(hosts) => {
                let path = scratch.join("known_hosts");
                let written = std::fs::File::create(&path).and_then(|mut file| file.write_all(hosts.as_bytes()));
                written.map_err(|error| OpsError::io("writing known hosts", error))?;
                (path, true)
            }
        };
        git.variable("GIT_SSH_COMMAND", ssh_command(&path, strict));
        Ok(proxy)
    }

    /// Returns the value for an `Authorization` header: that of the host before that of all hosts (D006).
    async fn header(&self) -> Result<Option<String>, OpsError> {
        let secrets = [(&self.header_secret, false), (&self.token_secret, true)];
        let named = |suffix: &str| {
            let named = secrets.iter().filter_map(|(id, token)| Some((id.as_ref()?, *token)));
            named.map(|(id, token)| (format!("{id}{suffix}"), token)).collect::<Vec<_>>()
        };
        let candidates: Vec<_> = named(&format!(".{}", self.remote.host)).into_iter().chain(named("")).collect();
        for (id, token) in candidates {
            if let Some(value) = super::secret_line(&self.worker, &id).await? {
                return Ok(Some(if token { super::basic("x-access-token", &value) } else { value }));
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl Operation<Ref> for GitSource {
    async fn cache_map(&self, _: &Context) -> Result<CacheMap, OperationError> {
        let target = self.target().await?;
        Ok(CacheMap::source(self.key(target)).pinned(&target.object))
    }

    async fn content_key(&self, _: &Context, _: usize, _: &Ref) -> Result<Option<Digest>, OperationError> {
        Ok(None)
    }

    async fn run(&self, _: &Context, _: Vec<Ref>) -> Result<Vec<Ref>, OperationError> {
        let target = self.target().await?;
        let prepared = self.prepare().await?;
        let (repository, commit) = self.fetch(&prepared, target).await?;
        let checkout = Checkout {
            directory: self.directory.clone(),
            keep_git_dir: self.keep_git_dir,
            submodules: self.submodules,
            time: if self.commit_time { Some(repository.time(&commit).await?) } else { None },
            description: format!("git checkout of {} at {commit}", self.remote),
        };
        let layer = checkout.layer(&self.worker, &repository, target, &commit).await?;
        Ok(vec![Ref::Layers(vec![layer])])
    }
}

/// Returns a path inside the repository; `..` stops at its root.
fn clean(path: &str) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean
}
