//! Builds whose context lies behind an address, or in an OCI layout.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rbuild_build::{
    BuildError, BuildOutcome, BuildRequest, Builder, ContextSource, DockerfileSource, NetworkMode, NoCache, OutputSpec,
    Parts, Resources,
};
use rbuild_events::Silent;
use rbuild_images::Images;
use rbuild_network::{Provider, Settings};
use rbuild_oci::ImageConfig;
use rbuild_registry::Options;
use rbuild_snapshot::{Roots, Strategy, UnpackOptions};
use rbuild_store::Store;
use rbuild_tree::Metadata;
use rbuild_tree::tar::LayerWriter;
use rustix::process::{Pid, Signal, kill_process_group};

/// A place for one test.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn store(&self) -> Store {
        Store::open(&self.path("store")).unwrap()
    }

    fn builder(&self) -> Builder {
        let runtime = tokio::runtime::Handle::current();
        let images = Images::new(self.store(), Options::default(), runtime, UnpackOptions::default());
        let settings = Settings {
            root: false,
            tools: rbuild_sys::host::Tools::default(),
            locks: self.path("locks"),
            resolv_conf: String::new(),
            bridge: "none".to_owned(),
            block_metadata: false,
        };
        Builder::new(Parts {
            images,
            roots: Roots::new(Strategy::Copy, false),
            network: Provider::new(settings),
            reporter: Arc::new(Silent),
            search_path: None,
            stdin: || Box::new("FROM scratch\nCOPY sub/inner /by-stdin\n".as_bytes()),
            stdout: || Box::new(std::io::sink()),
        })
        .unwrap()
    }

    /// Builds into a directory and returns it.
    async fn build(
        &self,
        context: ContextSource,
        change: impl FnOnce(&mut BuildRequest),
    ) -> Result<PathBuf, BuildError> {
        static COUNT: Mutex<u32> = Mutex::new(0);
        let number = {
            let mut count = COUNT.lock().unwrap();
            *count += 1;
            *count
        };
        let dest = self.path(&format!("out{number}"));
        let output = OutputSpec {
            kind: "local".to_owned(),
            attributes: BTreeMap::from([("dest".to_owned(), dest.display().to_string())]),
        };
        let mut request = request(context);
        request.outputs = vec![output];
        change(&mut request);
        self.builder().build(&request).await.map(|_| dest)
    }

    async fn image(
        &self,
        context: ContextSource,
        change: impl FnOnce(&mut BuildRequest),
    ) -> (BuildOutcome, ImageConfig) {
        let mut request = request(context);
        change(&mut request);
        let outcome = self.builder().build(&request).await.unwrap();
        let config = self.store().blobs().read_json(&outcome.image_id).unwrap();
        (outcome, config)
    }
}

fn request(context: ContextSource) -> BuildRequest {
    BuildRequest {
        context,
        dockerfile: DockerfileSource::Default,
        tags: Vec::new(),
        target: None,
        build_args: BTreeMap::new(),
        labels: BTreeMap::new(),
        no_cache: NoCache::Off,
        pull: false,
        platforms: Vec::new(),
        outputs: Vec::new(),
        secrets: BTreeMap::new(),
        ssh: Vec::new(),
        build_contexts: BTreeMap::new(),
        network: NetworkMode::None,
        add_hosts: Vec::new(),
        ulimits: Vec::new(),
        shm_size: None,
        cgroup_parent: None,
        resources: Resources::default(),
        allow: Vec::new(),
        devices: Default::default(),
        cdi_spec_dirs: Vec::new(),
        source_date_epoch: None,
        color: false,
    }
}

/// Serves one body at every path; returns the address and counts the requests.
fn serve(body: Vec<u8>, headers: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), &body, headers, &log);
        }
    });
    (address, asked)
}

fn answer(mut stream: TcpStream, body: &[u8], headers: &str, log: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
        head.push(byte[0]);
    }
    let method = String::from_utf8_lossy(&head).split(' ').next().unwrap_or_default().to_owned();
    let text = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    let _ = stream.write_all(text.as_bytes());
    if method == "GET" {
        let _ = stream.write_all(body);
    }
    log.lock().unwrap().push(method);
}

fn archive(files: &[(&str, &str)], mtime: i64) -> Vec<u8> {
    let mut writer = LayerWriter::new(Vec::new());
    for (name, content) in files {
        let mtime = rbuild_tree::Time::from_seconds(mtime);
        let metadata = Metadata { mtime, ..Metadata::file(content.len() as u64) };
        writer.file(Path::new(name), &metadata, &mut content.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

fn read(directory: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(directory.join(name)).ok()
}

/// X008
#[tokio::test(flavor = "multi_thread")]
async fn x008_dockerfile_by_http() {
    let place = Place::new();
    let (address, asked) = serve(b"FROM scratch\nCOPY context /copied\n".to_vec(), "");
    let out = place.build(ContextSource::Http(format!("{address}/some/Dockerfile")), |_| {}).await.unwrap();
    assert!(read(&out, "copied").unwrap().starts_with("FROM scratch"));
    assert_eq!(*asked.lock().unwrap(), ["GET"], "one build fetches its context once");
}

/// X008
#[tokio::test(flavor = "multi_thread")]
async fn x008_archive_by_http() {
    let place = Place::new();
    let files = [
        ("Dockerfile", "FROM scratch\nCOPY sub /\n"),
        ("sub/inner", "here"),
        ("other.Dockerfile", "FROM scratch\nCOPY sub/inner /other\n"),
    ];
    let (address, _) = serve(archive(&files, 5), "");
    let context = || ContextSource::Http(format!("{address}/context.tar"));
    let out = place.build(context(), |_| {}).await.unwrap();
    assert_eq!(read(&out, "inner").as_deref(), Some("here"));
    let inside = |request: &mut BuildRequest| request.dockerfile = DockerfileSource::Path("./other.Dockerfile".into());
    assert_eq!(read(&place.build(context(), inside).await.unwrap(), "other").as_deref(), Some("here"));
    let by_stdin = |request: &mut BuildRequest| request.dockerfile = DockerfileSource::Stdin;
    assert_eq!(read(&place.build(context(), by_stdin).await.unwrap(), "by-stdin").as_deref(), Some("here"));
    let missing = |request: &mut BuildRequest| request.dockerfile = DockerfileSource::Path("none".into());
    let error = place.build(context(), missing).await.unwrap_err().to_string();
    assert!(error.contains("failed to read dockerfile: open none: no such file or directory"), "{error}");
}

/// O010: the newest file of an archive, unless the server tells a time.
#[tokio::test(flavor = "multi_thread")]
async fn o010_times_of_archives() {
    let files = [("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")];
    for (headers, expect) in
        [("", "2001-09-09T01:46:40Z"), ("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "1994-11-06T08:49:37Z")]
    {
        let place = Place::new();
        let (address, _) = serve(archive(&files, 1_000_000_000), headers);
        let epoch = |request: &mut BuildRequest| request.source_date_epoch = Some("context".to_owned());
        let (_, config) = place.image(ContextSource::Http(address), epoch).await;
        assert_eq!(config.created.as_deref(), Some(expect));
    }
}

/// Runs git as a person would, with fixed names and times.
fn git(directory: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.args(["-c", "init.defaultBranch=main"]).args(arguments).current_dir(directory).env("HOME", "/dev/null");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "n").env(format!("GIT_{role}_EMAIL"), "e");
        command.env(format!("GIT_{role}_DATE"), "1700000000 +0000");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A server that speaks git's own protocol.
struct Daemon(Child, u16);

impl Daemon {
    fn start(directory: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("git");
        command.args(["daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1", &format!("--port={port}")]);
        command.arg(format!("--base-path={}", directory.display())).env("HOME", "/dev/null");
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().unwrap();
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
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
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

/// X007
#[tokio::test(flavor = "multi_thread")]
async fn x007_git() {
    let place = Place::new();
    let path = place.path("repo");
    std::fs::create_dir_all(path.join("sub")).unwrap();
    std::fs::write(path.join("Dockerfile"), "FROM scratch\nCOPY sub/inner /whole\n").unwrap();
    std::fs::write(path.join("sub/dockerfile"), "FROM scratch\nCOPY inner /part\n").unwrap();
    std::fs::write(path.join("sub/inner"), "here").unwrap();
    git(&path, &["init", "--quiet"]);
    git(&path, &["add", "--all"]);
    git(&path, &["commit", "--quiet", "-m", "one"]);
    let daemon = Daemon::start(place.0.path());
    let context = |fragment: &str| ContextSource::Git(format!("git://127.0.0.1:{}/repo{fragment}", daemon.1));
    let whole = place.build(context("#main"), |_| {}).await.unwrap();
    assert_eq!(read(&whole, "whole").as_deref(), Some("here"));
    let part = place.build(context("#main:sub"), |_| {}).await.unwrap();
    assert_eq!(read(&part, "part").as_deref(), Some("here"));
    let epoch = |request: &mut BuildRequest| request.source_date_epoch = Some("context".to_owned());
    let (_, config) = place.image(context(""), epoch).await;
    assert_eq!(config.created.as_deref(), Some("2023-11-14T22:13:20Z"));
    let error = place.build(context("#none"), |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("does not contain ref none"), "{error}");
}

/// X011: what one build wrote as a layout is another's base.
#[tokio::test(flavor = "multi_thread")]
async fn x011_oci_layout() {
    let place = Place::new();
    let context = place.path("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY Dockerfile /first\nENV FROM_LAYOUT=yes\n").unwrap();
    let layout = place.path("layout");
    let attributes =
        BTreeMap::from([("dest".to_owned(), layout.display().to_string()), ("tar".to_owned(), "false".to_owned())]);
    let output = OutputSpec { kind: "oci".to_owned(), attributes };
    let source = || ContextSource::Directory(context.clone());
    place.image(source(), |request| request.outputs = vec![output]).await;
    std::fs::write(context.join("Dockerfile"), "FROM base\nCOPY --from=base first /second\n").unwrap();
    // Another store, which has nothing of it.
    let other = Place::new();
    let named =
        |value: String| move |request: &mut BuildRequest| drop(request.build_contexts.insert("base".to_owned(), value));
    let given = format!("oci-layout://{}", layout.display());
    let out = other.build(source(), named(given.clone())).await.unwrap();
    assert!(read(&out, "first").is_some() && read(&out, "first") == read(&out, "second"));
    let (_, config) = other.image(source(), named(given.clone())).await;
    let env = config.config.env;
    assert!(format!("{env:?}").contains("FROM_LAYOUT=yes"), "{env:?}");
    let error = other.build(source(), named(format!("{given}:missing"))).await.unwrap_err().to_string();
    assert!(error.contains("has no image `missing`"), "{error}");
}
