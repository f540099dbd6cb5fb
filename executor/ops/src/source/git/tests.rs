//! Sources in repositories of this machine, by files, by git's own protocol and by http.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rbuild_graph::pb;
use rustix::process::{Pid, Signal, kill_process_group};

use super::GitSource;
use crate::source::testing::{Client, Done, Place, Server, chain, op, run};

const TIME: &str = "1700000000 +0000";

/// Runs git as a person would, with fixed names and times.
fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(["-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false"]);
    command.args(arguments).current_dir(directory).env("HOME", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for role in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{role}_NAME"), "n")
            .env(format!("GIT_{role}_EMAIL"), "e")
            .env(format!("GIT_{role}_DATE"), TIME);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Makes a repository with two commits, a branch and tags; returns its directory.
fn repository(place: &Place, name: &str, format: &str) -> PathBuf {
    let path = place.path(name);
    std::fs::create_dir_all(path.join("sub/deep")).unwrap();
    git(&path, &["init", "--quiet", &format!("--object-format={format}")]);
    std::fs::write(path.join("file"), "one").unwrap();
    std::fs::write(path.join("sub/deep/inner"), "inner").unwrap();
    std::fs::write(path.join("run.sh"), "#!/bin/sh").unwrap();
    std::fs::set_permissions(path.join("run.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o775)).unwrap();
    std::os::unix::fs::symlink("/etc", path.join("out")).unwrap();
    commit(&path, "one");
    git(&path, &["tag", "-a", "-m", "tagged", "v1"]);
    git(&path, &["branch", "old"]);
    std::fs::write(path.join("file"), "two").unwrap();
    commit(&path, "two");
    path
}

fn commit(path: &Path, message: &str) {
    git(path, &["add", "--all"]);
    git(path, &["commit", "--quiet", "-m", message]);
}

fn local(path: &Path, fragment: &str, attributes: &[(&str, &str)]) -> pb::SourceOp {
    let url = format!("file://{}", path.display());
    let attributes: Vec<_> = [("git.fullurl", url.as_str())].into_iter().chain(attributes.iter().copied()).collect();
    op(&format!("git://example.com/x{fragment}"), &attributes)
}

async fn fetch(place: &Place, op: &pb::SourceOp) -> Result<Done, String> {
    let worker = place.worker(Client::default());
    let source = GitSource::new(worker.clone(), op).map_err(|error| error.to_string())?;
    run(&worker, &source).await.map_err(|error| chain(&*error))
}

/// D007, D011
// items: D007 D011
#[tokio::test(flavor = "multi_thread")]
async fn d011_trees_and_modes() {
    let place = Place::new();
    let path = repository(&place, "repo", "sha1");
    let done = fetch(&place, &local(&path, "", &[])).await.unwrap();
    assert_eq!(done.paths(), ["file", "out", "run.sh", "sub", "sub/deep", "sub/deep/inner"]);
    assert_eq!(done.read("file").as_deref(), Some("two"));
    let mode = |path: &str| done.node(path).unwrap().metadata.mode;
    assert_eq!((mode("file"), mode("run.sh"), mode("sub")), (0o644, 0o755, 0o755));
    let timed = fetch(&place, &local(&path, "#old", &[("git.mtime", "commit")])).await.unwrap();
    assert_eq!(timed.read("file").as_deref(), Some("one"));
    assert_eq!(timed.node("sub").unwrap().metadata.mtime.seconds, 1_700_000_000);
    let sub = fetch(&place, &local(&path, "#:../sub/deep", &[("git.keepgitdir", "true")])).await.unwrap();
    assert_eq!(sub.paths(), ["inner"]);
}

/// K010
// items: K010
#[tokio::test(flavor = "multi_thread")]
async fn k010_one_commit_has_one_key() {
    let place = Place::new();
    let path = repository(&place, "repo", "sha1");
    let old = git(&path, &["rev-parse", "old"]);
    let by = async |fragment: &str, attributes: &[(&str, &str)]| {
        fetch(&place, &local(&path, fragment, attributes)).await.unwrap()
    };
    let branch = by("#old", &[]).await;
    assert_eq!(by("#v1", &[]).await.key, branch.key);
    assert_eq!(by("#refs/tags/v1", &[("git.checksum", &old[..10])]).await.key, branch.key);
    assert_eq!(by(&format!("#{old}"), &[]).await.read("file").as_deref(), Some("one"));
    assert_eq!(by("", &[("git.fetchbycommit", "true"), ("git.checksum", &old)]).await.key, branch.key);
    assert_ne!(by("#old", &[("git.skipsubmodules", "true")]).await.key, branch.key);
    assert_ne!(by("#old:sub", &[]).await.key, branch.key);
    assert_ne!(by("", &[]).await.key, branch.key);
    // What was fetched once is not fetched again.
    std::fs::rename(&path, place.path("gone")).unwrap();
    assert_eq!(by(&format!("#{old}"), &[]).await.key, branch.key);
}

/// D009
#[tokio::test(flavor = "multi_thread")]
async fn d009_kept_repositories() {
    let place = Place::new();
    let path = repository(&place, "repo", "sha1");
    let done = fetch(&place, &local(&path, "#v1", &[("git.keepgitdir", "true")])).await.unwrap();
    let config = done.read(".git/config").unwrap();
    assert!(config.contains(&format!("url = file://{}", path.display())), "{config}");
    assert!(!config.contains("store") && !config.contains("hooksPath"), "{config}");
    assert_eq!(done.read(".git/HEAD").unwrap().trim(), git(&path, &["rev-parse", "old"]));
    assert_eq!(done.read(".git/refs/tags/v1").unwrap().trim(), git(&path, &["rev-parse", "v1"]));
    assert_eq!((done.read(".git/FETCH_HEAD"), done.node(".git/hooks")), (None, None));
}

/// D010
// items: D010
#[tokio::test(flavor = "multi_thread")]
async fn d010_checksums_and_sha256() {
    let place = Place::new();
    let path = repository(&place, "repo", "sha256");
    let head = git(&path, &["rev-parse", "HEAD"]);
    assert_eq!(head.len(), 64);
    fetch(&place, &local(&path, "#main", &[("git.checksum", &head[..8])])).await.unwrap();
    let kept = fetch(&place, &local(&path, "#main", &[("git.keepgitdir", "true")])).await.unwrap();
    assert_eq!(kept.read(".git/HEAD").unwrap().trim(), head);
    let error = async |fragment: &str, checksum: &str| {
        fetch(&place, &local(&path, fragment, &[("git.checksum", checksum)])).await.err().unwrap()
    };
    assert!(error("#main", "abc").await.contains("expected checksum to match abc, got"));
    assert!(error(&format!("#{head}"), "abc").await.contains("expected checksum to match abc, got"));
    assert!(error("#main", "xyz").await.contains("expected hex commit hash"));
    let missing = fetch(&place, &local(&path, "#none", &[])).await.err().unwrap();
    assert!(missing.contains("does not contain ref none"), "{missing}");
}

/// X50
#[tokio::test(flavor = "multi_thread")]
async fn x50_nothing_leads_out() {
    let place = Place::new();
    let path = repository(&place, "repo", "sha1");
    for (fragment, part) in [
        ("#:out", "is not a directory"),
        ("#:out/ssh", "is not a directory"),
        ("#:file", "is not a directory"),
        ("#:missing", "is not in the repository"),
        ("#--upload-pack=id", "invalid git ref"),
        ("#main^{}", "invalid git ref"),
    ] {
        let error = fetch(&place, &local(&path, fragment, &[])).await.err().unwrap();
        assert!(error.contains(part), "{fragment}: {error}");
    }
    let bundle = fetch(&place, &local(&path, "", &[("git.bundle", "x")])).await.err().unwrap();
    assert!(bundle.contains("is not supported"), "{bundle}");
    // CVE-2022-39253: a submodule may not be a repository of this machine.
    let inner = repository(&place, "inner", "sha1");
    git(&path, &["submodule", "--quiet", "add", &format!("file://{}", inner.display()), "module"]);
    commit(&path, "submodule");
    let error = fetch(&place, &local(&path, "", &[])).await.err().unwrap();
    assert!(error.contains("transport 'file' not allowed"), "{error}");
    fetch(&place, &local(&path, "", &[("git.skipsubmodules", "true")])).await.unwrap();
}

/// A server that speaks git's own protocol.
struct Daemon(Child, u16);

impl Daemon {
    fn start(directory: &Path) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("git");
        command.args(["daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1", &format!("--port={port}")]);
        command.arg(format!("--base-path={}", directory.display())).stderr(Stdio::null()).env("HOME", "/dev/null");
        let child = command.stdout(Stdio::null()).process_group(0).spawn().unwrap();
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Self(child, port)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // What `git` calls is a program of its own.
        let group = Pid::from_child(&self.0);
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.0.wait();
    }
}

/// D009
// items: D009
#[tokio::test(flavor = "multi_thread")]
async fn d009_submodules() {
    let place = Place::new();
    let daemon = Daemon::start(place.directory.path());
    let (path, inner, leaf) =
        (repository(&place, "repo", "sha1"), repository(&place, "inner", "sha1"), repository(&place, "leaf", "sha1"));
    let add = |to: &Path, what: &str| {
        // Added by its file, named by its address: here relative, so that it lies where its parent does.
        git(to, &["submodule", "--quiet", "add", &format!("file://{}", place.path(what).display()), "module"]);
        git(to, &["config", "-f", ".gitmodules", "submodule.module.url", &format!("../{what}")]);
        commit(to, "submodule");
    };
    assert!(leaf.is_dir());
    add(&inner, "leaf");
    add(&path, "inner");
    let url = format!("git://127.0.0.1:{}/repo", daemon.1);
    let done = fetch(&place, &op("git://x/y", &[("git.fullurl", &url)])).await.unwrap();
    assert_eq!(done.read("module/module/file").as_deref(), Some("two"));
    assert!(done.paths().iter().all(|path| !path.ends_with(".git")), "{:?}", done.paths());
    let kept = fetch(&place, &op("git://x/y", &[("git.fullurl", &url), ("git.keepgitdir", "true")])).await.unwrap();
    assert_eq!(kept.read("module/.git").unwrap().trim(), "gitdir: ../.git/modules/module");
    let skipped =
        fetch(&place, &op("git://x/y", &[("git.fullurl", &url), ("git.skipsubmodules", "true")])).await.unwrap();
    assert_eq!(skipped.read("module/file"), None);
}

/// D006
// items: D006
#[tokio::test(flavor = "multi_thread")]
async fn d006_tokens_go_to_their_host() {
    let place = Place::new();
    let server = Server::start(|_, _| (404, Vec::new(), String::new())).await;
    let host = server.address.trim_start_matches("http://").to_owned();
    let secrets = [("TOKEN".to_owned(), "all".to_owned()), (format!("TOKEN.{host}"), "mine\n".to_owned())].into();
    let worker = place.worker(Client { secrets, ..Client::default() });
    let attributes = [("git.fullurl", &*format!("http://user:hidden@{host}/x.git")), ("git.authtokensecret", "TOKEN")];
    let source = GitSource::new(worker.clone(), &op("git://x/y", &attributes)).unwrap();
    let error = run(&worker, &source).await.err().map(|error| chain(&*error)).unwrap();
    assert!(!error.contains("hidden"), "{error}");
    let asked = server.asked();
    assert_eq!(asked[0].header("authorization"), Some("basic eC1hY2Nlc3MtdG9rZW46bWluZQ=="));
    let other = Server::start(|_, _| (404, Vec::new(), String::new())).await;
    let attributes = [("git.fullurl", &*format!("{}/x.git", other.address))];
    let source = GitSource::new(worker.clone(), &op("git://x/y", &attributes)).unwrap();
    assert!(run(&worker, &source).await.is_err());
    assert!(other.asked().iter().all(|asked| asked.header("authorization").is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn times_of_commits() {
    let place = Place::new();
    let path = repository(&place, "repo", "sha1");
    let worker: Arc<_> = place.worker(Client::default());
    assert_eq!(worker.commit_time(&local(&path, "#v1", &[])).await.unwrap(), Some(1_700_000_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_name_means_is_told_once() {
    let place = Place::new();
    let path = repository(&place, "repo", "sha1");
    let worker: Arc<_> = place.worker(Client::default());
    let (tag, commit) = (git(&path, &["rev-parse", "v1"]), git(&path, &["rev-parse", "v1^{commit}"]));
    let told = worker.git_metadata(&local(&path, "#v1", &[]), true).await.unwrap();
    assert_eq!((told.object.as_str(), told.name.as_str()), (tag.as_str(), "refs/tags/v1"));
    assert_eq!(told.commit.as_deref(), Some(commit.as_str()));
    assert!(told.commit_bytes.starts_with(b"tree ") && told.tag_bytes.starts_with(b"object "));
    git(&path, &["tag", "--force", "v1", "main"]);
    let again = worker.git_metadata(&local(&path, "#v1", &[]), false).await.unwrap();
    assert_eq!((again.object, again.commit_bytes), (told.object, Vec::new()), "one build sees one tag");
    let branch = worker.git_metadata(&local(&path, "", &[]), true).await.unwrap();
    assert_eq!((branch.name.as_str(), branch.commit, branch.tag_bytes), ("refs/heads/main", None, Vec::new()));
}
