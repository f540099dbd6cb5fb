//! What tests of sources share: a worker on a store of its own, a client's side, a small http server.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use rbuild_events::Silent;
use rbuild_graph::pb;
use rbuild_images::Images;
use rbuild_network::{Provider, Settings};
use rbuild_oci::Digest;
use rbuild_registry::{Options, Timing};
use rbuild_snapshot::{Roots, Strategy, UnpackOptions};
use rbuild_solver::{Context, Operation, OperationError};
use rbuild_store::Store;
use rbuild_tree::{FileTree, Node};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::value::Ref;
use crate::worker::Worker;
use crate::{Agent, Layout, LocalDirectory, LocalRequest, Session};

/// The client's side.
#[derive(Debug, Clone, Default)]
pub(crate) struct Client {
    pub(crate) secrets: BTreeMap<String, String>,
    pub(crate) layouts: BTreeMap<String, PathBuf>,
    pub(crate) uploads: BTreeMap<String, String>,
}

#[async_trait]
impl Session for Client {
    async fn local(&self, _: &LocalRequest, _: &Context) -> io::Result<Option<LocalDirectory>> {
        Ok(None)
    }

    async fn secret(&self, id: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.secrets.get(id).map(|value| value.clone().into_bytes()))
    }

    async fn ssh_agent(&self, _: &str) -> io::Result<Option<Arc<dyn Agent>>> {
        Ok(None)
    }

    async fn layout(&self, id: &str, _: Option<&str>) -> io::Result<Option<Layout>> {
        Ok(self.layouts.get(id).cloned().map(Layout::Directory))
    }

    async fn upload(&self, _: &str, path: &str) -> io::Result<Option<Box<dyn io::Read + Send>>> {
        let content = self.uploads.get(path).cloned();
        Ok(content.map(|content| Box::new(io::Cursor::new(content)) as Box<dyn io::Read + Send>))
    }
}

/// A place for one test.
pub(crate) struct Place {
    pub(crate) directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn worker(&self, client: Client) -> Arc<Worker> {
        let store = Store::open(&self.path("store")).unwrap();
        let timing = Timing { first_wait: Duration::from_millis(5), ..Timing::default() };
        let options = Options { timing, ..Options::default() };
        let images = Images::new(store, options, tokio::runtime::Handle::current(), UnpackOptions::default());
        let settings = Settings {
            root: false,
            tools: rbuild_sys::host::Tools::default(),
            locks: self.path("locks"),
            resolv_conf: String::new(),
            bridge: "none".to_owned(),
            block_metadata: false,
        };
        let roots = Roots::new(Strategy::Copy, false);
        let network = Arc::new(Provider::new(settings));
        Arc::new(Worker::new(images, roots, network, Arc::new(client), Arc::new(Silent)))
    }
}

/// Returns a source op.
pub(crate) fn op(identifier: &str, attributes: &[(&str, &str)]) -> pb::SourceOp {
    let attrs = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    pb::SourceOp { identifier: identifier.to_owned(), attrs }
}

/// A source that was run.
pub(crate) struct Done {
    pub(crate) key: Digest,
    pub(crate) value: Ref,
    worker: Arc<Worker>,
}

/// Asks an operation for its key and runs it.
pub(crate) async fn run(worker: &Arc<Worker>, operation: &dyn Operation<Ref>) -> Result<Done, OperationError> {
    let context = Context::new(Digest::of(b"vertex"), "source", Arc::new(Silent), SystemTime::now);
    let key = operation.cache_map(&context).await?.key;
    let value = operation.run(&context, Vec::new()).await?.pop().unwrap();
    Ok(Done { key, value, worker: worker.clone() })
}

impl Done {
    pub(crate) fn read(&self, path: &str) -> Option<String> {
        let bytes = self.worker.read_file(&self.value, Path::new(path), 1 << 20).unwrap();
        bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(crate) fn node(&self, path: &str) -> Option<Node> {
        self.worker.tree(&self.worker.unwatched(), &self.value).unwrap().node(Path::new(path)).unwrap()
    }

    /// Returns all paths.
    pub(crate) fn paths(&self) -> Vec<String> {
        let tree = self.worker.tree(&self.worker.unwatched(), &self.value).unwrap();
        let mut paths = Vec::new();
        list(&*tree, Path::new(""), &mut paths);
        paths
    }
}

fn list(tree: &dyn FileTree, path: &Path, paths: &mut Vec<String>) {
    for node in tree.children(path).unwrap() {
        paths.push(node.path.display().to_string());
        if node.metadata.kind.is_directory() {
            list(tree, &node.path, paths);
        }
    }
}

/// Returns an error with its causes.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A request as it came: method, path, headers in lower case.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    head: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let line = |line: &'_ str| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
        self.head.lines().find(|text| line(text)).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    }
}

/// An answer: status, headers, body.
pub(crate) type Answer = (u16, Vec<(&'static str, String)>, String);

/// A server on the loopback that remembers what it was asked.
pub(crate) struct Server {
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (answer, log) = (Arc::new(answer), asked.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, log) = (answer.clone(), log.clone());
                tokio::spawn(async move { serve(stream, &*answer, &log).await });
            }
        });
        Self { address, asked }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn methods(&self) -> String {
        self.asked().iter().map(|asked| asked.method.clone()).collect::<Vec<_>>().join(" ")
    }
}

async fn serve(
    mut stream: TcpStream,
    answer: &(dyn Fn(&Asked, usize) -> Answer + Send + Sync),
    log: &Mutex<Vec<Asked>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut words = head.split(' ').map(str::to_owned);
    let asked = Asked { method: words.next().unwrap(), path: words.next().unwrap(), head: head.clone() };
    let count = {
        let mut log = log.lock().unwrap();
        log.push(asked.clone());
        log.len()
    };
    let (status, headers, body) = answer(&asked, count);
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let body = if asked.method == "HEAD" || status == 304 { String::new() } else { body };
    let text =
        format!("HTTP/1.1 {status} Status\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}
