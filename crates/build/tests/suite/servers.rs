//! Servers that builds fetch from: http with one body, git's own protocol.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// Serves one body at every path; returns the address and counts the requests.
pub(crate) fn serve(body: Vec<u8>, headers: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
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

pub(crate) fn answer(mut stream: TcpStream, body: &[u8], headers: &str, log: &Mutex<Vec<String>>) {
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

/// Runs git as a person would, with fixed names and times.
pub(crate) fn git(directory: &Path, arguments: &[&str]) {
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
pub(crate) struct Daemon(Child, pub(crate) u16);

impl Daemon {
    pub(crate) fn start(directory: &Path) -> Self {
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

/// A request that a [`Site`] saw.
#[derive(Debug, Clone, Default)]
struct Asked {
    method: String,
    path: String,
    query: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A web server: repositories below `/git/` by git's own program, files of a directory otherwise.
pub(crate) struct Site {
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Site {
    /// Serves `root`; with an `authorization`, only to those who send it.
    pub(crate) fn start(root: &Path, authorization: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (log, root) = (asked.clone(), root.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(request) = request(&mut stream) else { continue };
                let allowed = authorization.is_none_or(|wanted| request.header("authorization") == Some(wanted));
                let answer = match request.path.strip_prefix("/git/") {
                    _ if !allowed => b"Status: 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n".to_vec(),
                    Some(_) => by_git(&root, &request),
                    None => by_file(&root, &request),
                };
                log.lock().unwrap().push(request);
                let _ = respond(&mut stream, &answer);
            }
        });
        Self { address, asked }
    }

    /// Returns host and port.
    pub(crate) fn host(&self) -> &str {
        self.address.trim_start_matches("http://")
    }

    /// Returns what was asked since the last time, as `METHOD /path`.
    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.into_iter().map(|asked| format!("{} {}", asked.method, asked.path)).collect()
    }
}

fn request(stream: &mut TcpStream) -> Option<Asked> {
    let mut stream = std::io::BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut stream, &mut line).ok().filter(|read| *read > 0)?;
        Some(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ');
    let (method, address) = (words.next()?.to_owned(), words.next()?);
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let (path, query) = (path.to_owned(), query.to_owned());
    let mut headers = Vec::new();
    while let Some((name, value)) = line()?.split_once(": ") {
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let mut asked = Asked { method, path, query, headers, body: Vec::new() };
    let length = asked.header("content-length").map_or(0, |length| length.parse().unwrap());
    asked.body.resize(length, 0);
    stream.read_exact(&mut asked.body).ok()?;
    Some(asked)
}

/// Answers in the form of CGI, as git's program does.
fn by_git(root: &Path, request: &Asked) -> Vec<u8> {
    let mut command = Command::new("git");
    command.arg("http-backend").env("GIT_HTTP_EXPORT_ALL", "1").env("GIT_PROJECT_ROOT", root).env("HOME", "/dev/null");
    command.env("PATH_INFO", &request.path[4..]).env("QUERY_STRING", &request.query);
    command.env("REQUEST_METHOD", &request.method).env("CONTENT_LENGTH", request.body.len().to_string());
    let name = |name: &str| format!("HTTP_{}", name.to_ascii_uppercase().replace('-', "_"));
    command.envs(request.headers.iter().map(|(header, value)| (name(header), value)));
    command.env("CONTENT_TYPE", request.header("content-type").unwrap_or_default());
    // The repositories of a test may belong to whoever runs it.
    command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "safe.directory").env("GIT_CONFIG_VALUE_0", "*");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&request.body).unwrap();
    child.wait_with_output().unwrap().stdout
}

/// A file with a tag of its length and a time.
fn by_file(root: &Path, request: &Asked) -> Vec<u8> {
    let path: PathBuf = root.join(request.path.trim_start_matches('/'));
    let Ok(body) = std::fs::read(path) else { return b"Status: 404 No\r\n\r\n".to_vec() };
    let tag = format!("\"{}\"", rbuild_oci::Digest::of(&body).hex());
    let same = request.header("if-none-match").is_some_and(|tags| tags.contains(&tag));
    let status = if same { "304 Same" } else { "200 OK" };
    let length = if same { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let time = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT";
    let mut answer = format!("Status: {status}\r\nETag: {tag}\r\n{time}\r\n{length}\r\n").into_bytes();
    if !same && request.method == "GET" {
        answer.extend(body);
    }
    answer
}

fn respond(stream: &mut TcpStream, answer: &[u8]) -> std::io::Result<()> {
    let status = answer.strip_prefix(b"Status: ");
    stream.write_all(if status.is_some() { b"HTTP/1.1 " } else { b"HTTP/1.1 200 OK\r\n" })?;
    let rest = status.unwrap_or(answer);
    let line = status.and_then(|rest| rest.iter().position(|byte| *byte == b'\n')).map_or(0, |at| at + 1);
    stream.write_all(&rest[..line])?;
    stream.write_all(b"Connection: close\r\n")?;
    stream.write_all(&rest[line..])
}
