//! An ssh agent's socket, let through to a step: signing and listing only unless its owner sees to that, gone with the
//! step.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::session::Agent;

/// Messages of the agent protocol that are let through (draft-ietf-sshm-ssh-agent, section 5.1):
/// list the identities, sign with one.
const ALLOWED: [u8; 2] = [11, 13];
/// The agent's answer that means "no".
const FAILURE: u8 = 5;
/// The longest message that agents take.
const LONGEST: u32 = 256 << 10;

/// A socket in a directory of its own, served until it is dropped.
pub(crate) struct AgentProxy {
    directory: PathBuf,
    ended: Arc<AtomicBool>,
}

impl AgentProxy {
    /// Serves `agent` on a new socket below `scratch`.
    pub(crate) fn start(agent: Arc<dyn Agent>, scratch: &Path, owner: (u32, u32), mode: u32) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("ssh-").tempdir_in(scratch)?.keep();
        let proxy = Self { directory, ended: Arc::default() };
        let socket = proxy.socket();
        // The address of a socket is 107 bytes at most; a store may lie deeper than that.
        let parent = std::fs::File::open(&proxy.directory)?;
        let listener = UnixListener::bind(short_name(&parent))?;
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(mode))?;
        std::os::unix::fs::lchown(&socket, Some(owner.0), Some(owner.1))?;
        let ended = proxy.ended.clone();
        std::thread::Builder::new().name("ssh-agent".to_owned()).spawn(move || accept(&listener, &agent, &ended))?;
        Ok(proxy)
    }

    /// Returns the path of the socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("agent.sock")
    }
}

impl Drop for AgentProxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the listener, which then sees that it has ended.
        if let Ok(parent) = std::fs::File::open(&self.directory) {
            let _ = UnixStream::connect(short_name(&parent));
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Returns a name of the socket in an open directory that is short wherever the directory lies.
fn short_name(directory: &std::fs::File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/agent.sock", std::os::fd::AsRawFd::as_raw_fd(directory)))
}

fn accept(listener: &UnixListener, agent: &Arc<dyn Agent>, ended: &Arc<AtomicBool>) {
    for client in listener.incoming() {
        if ended.load(Ordering::Relaxed) {
            return;
        }
        let (Ok(client), agent) = (client, agent.clone()) else { continue };
        let _ = std::thread::Builder::new().name("ssh-agent".to_owned()).spawn(move || relay(client, &*agent));
    }
}

/// Relays one connection, request by request, or byte by byte to where requests are judged.
fn relay(mut client: UnixStream, agent: &dyn Agent) -> io::Result<()> {
    let is_guarded = agent.is_guarded();
    let mut agent = agent.connect()?;
    if is_guarded {
        return pass(client, agent);
    }
    agent.set_read_timeout(Some(Duration::from_secs(120)))?;
    while let Some(request) = message(&mut client)? {
        if request.first().is_some_and(|kind| ALLOWED.contains(kind)) {
            send(&mut agent, &request)?;
            let Some(answer) = message(&mut agent)? else { break };
            send(&mut client, &answer)?;
        } else {
            send(&mut client, &[FAILURE])?;
        }
    }
    client.shutdown(Shutdown::Both)
}

/// Lets everything through, both ways: who has said everything may still listen.
fn pass(client: UnixStream, agent: UnixStream) -> io::Result<()> {
    let (mut asking, mut asked) = (client.try_clone()?, agent.try_clone()?);
    std::thread::scope(|scope| {
        let say = move || {
            let _ = io::copy(&mut asking, &mut asked);
            let _ = asked.shutdown(Shutdown::Write);
        };
        std::thread::Builder::new().name("ssh-agent".to_owned()).spawn_scoped(scope, say)?;
        let heard = io::copy(&mut &agent, &mut &client);
        let _ = client.shutdown(Shutdown::Both);
        heard.map(drop)
    })
}

fn message(from: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_be_bytes(length);
    if length == 0 || length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "ssh agent message of an impossible length"));
    }
    let mut body = vec![0; length as usize];
    from.read_exact(&mut body)?;
    Ok(Some(body))
}

fn send(to: &mut UnixStream, body: &[u8]) -> io::Result<()> {
    to.write_all(&(body.len() as u32).to_be_bytes())?;
    to.write_all(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_only_listing_and_signing_through_x80() {
        let scratch = tempfile::tempdir().unwrap();
        let agent = scratch.path().join("agent");
        let listener = UnixListener::bind(&agent).unwrap();
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            while let Some(request) = message(&mut client).unwrap() {
                send(&mut client, &[12, request[0]]).unwrap();
            }
        });
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let proxy = AgentProxy::start(Arc::new(agent), scratch.path(), (uid, gid), 0o600).unwrap();
        let mut client = UnixStream::connect(proxy.socket()).unwrap();
        send(&mut client, &[11]).unwrap();
        assert_eq!(message(&mut client).unwrap().unwrap(), [12, 11]);
        send(&mut client, &[17, 1, 2]).unwrap();
        assert_eq!(message(&mut client).unwrap().unwrap(), [FAILURE]);
        let directory = proxy.directory.clone();
        drop(proxy);
        assert!(!directory.exists());
    }

    struct Guarded(PathBuf);

    impl Agent for Guarded {
        fn connect(&self) -> io::Result<UnixStream> {
            UnixStream::connect(&self.0)
        }

        fn is_guarded(&self) -> bool {
            true
        }
    }

    #[test]
    fn sockets_that_their_owner_guards_speak_any_language() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("server");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut said = String::new();
            client.read_to_string(&mut said).unwrap();
            client.write_all(said.to_uppercase().as_bytes()).unwrap();
        });
        let owner = rbuild_sys::dirfd::current_owner();
        let proxy = AgentProxy::start(Arc::new(Guarded(path)), scratch.path(), owner, 0o600).unwrap();
        let mut client = UnixStream::connect(proxy.socket()).unwrap();
        client.write_all(b"get /").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "GET /");
    }
}
