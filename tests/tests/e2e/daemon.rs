//! A daemon of a test's own: started at a socket in the lab, stopped with a look at what it leaves behind.

use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::build_client::Client;
use crate::ending::left_behind;
use crate::lab::{Lab, Running, path};

/// `rbuild serve` on the store of a lab.
pub(crate) struct Daemon<'a> {
    lab: &'a Lab,
    running: Option<Running>,
    socket: PathBuf,
}

impl<'a> Daemon<'a> {
    pub(crate) fn start(lab: &'a Lab) -> Self {
        Self::with(lab, &[])
    }

    /// Starts one with more arguments, and waits until it listens.
    pub(crate) fn with(lab: &'a Lab, args: &[&str]) -> Self {
        let socket = lab.at("d.sock");
        let (root, address) = (path(&lab.store()), address_of(&socket));
        let words = ["--root", &root, "serve", "--addr", &address];
        let mut running = lab.start(words.iter().chain(args));
        running.wait_for("listening at unix://");
        Self { lab, running: Some(running), socket }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs until it is stopped")
    }

    /// Returns a client of its own connection.
    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.socket)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running().pid()
    }

    pub(crate) fn address(&self) -> String {
        address_of(&self.socket)
    }

    /// Returns what it said so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.lab.at("log")).expect("its log")
    }

    /// Returns the resident bytes of its processes.
    pub(crate) fn memory(&self) -> u64 {
        let pids = crate::ending::processes_with(&self.address());
        pids.iter().map(|pid| resident(*pid)).max().unwrap_or(0)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.running().signal(signal);
    }

    /// Stops it: it ends by itself, without a panic before, and nothing of it is left.
    #[track_caller]
    pub(crate) fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Waits for its end, as after a signal.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> String {
        let running = self.running.take().expect("it runs until it is stopped");
        let pid = running.pid();
        let said = running.end().ok().stderr;
        assert!(!said.contains("panicked"), "{said}");
        assert!(!self.socket.exists(), "its socket is left");
        assert_eq!(left_behind(self.lab, pid, &self.address()), Vec::<String>::new());
        said
    }
}

fn address_of(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) << 10
}
