//! What can go wrong in an operation.

use std::io;

use rbuild_oci::Digest;

use crate::exec::ProcessFailed;
use crate::file::FileError;
use crate::source::git::GitError;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum OpsError {
    /// A process ended badly.
    #[error(transparent)]
    Process(#[from] ProcessFailed),
    /// A file action failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Reading a tree failed.
    #[error("failed to calculate checksum of ref")]
    Tree(#[from] rbuild_tree::TreeError),
    /// An image or layer cannot be had.
    #[error(transparent)]
    Images(#[from] rbuild_images::ImagesError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] rbuild_store::Error),
    /// Making or keeping a root failed.
    #[error(transparent)]
    Snapshot(#[from] rbuild_snapshot::SnapshotError),
    /// The sandbox could not do its work.
    #[error(transparent)]
    Sandbox(#[from] rbuild_sandbox::SandboxError),
    /// The network could not be made.
    #[error(transparent)]
    Network(#[from] rbuild_network::NetworkError),
    /// The hosts file cannot be written.
    #[error(transparent)]
    Hosts(rbuild_network::HostsError),
    /// A container has no such mount.
    #[error("mount index {index} is out of bounds ({count} available)")]
    MountIndex {
        /// The index.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// A mount of a container that nobody can look into from outside.
    #[error("mountable {0} not found")]
    NotShown(usize),
    /// A secret could not be read.
    #[error("reading secret `{id}`")]
    Secret {
        /// The secret.
        id: String,
        /// Why.
        source: io::Error,
    },
    /// A secret that a step needs was not given.
    #[error("secret {0}: not found: give it with --secret id={0},src=FILE")]
    NoSecret(String),
    /// A secret for an environment variable is not text.
    #[error("secret {0} is not UTF-8 text, so it cannot be an environment variable")]
    SecretText(String),
    /// A secret for a header is not a line of text.
    #[error("secret {0} is not one line of text, so it cannot be part of a header")]
    SecretLine(String),
    /// An agent that a step needs was not given.
    #[error("no SSH key {0:?} forwarded from the client: unset ssh forward key {0}: give it with --ssh {0}")]
    NoAgent(String),
    /// The source of a cache mount is not there, or leads out of it.
    #[error("cache mount source `{path}`")]
    Selector {
        /// The path inside the cache.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A local directory that the graph names was not given.
    #[error("local context `{0}` is not part of this build")]
    NoLocal(String),
    /// A local directory cannot be had from the client.
    #[error("loading local context `{name}`")]
    Local {
        /// The name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// An agent cannot be reached.
    #[error("forwarding ssh agent `{id}`")]
    Agent {
        /// The agent.
        id: String,
        /// Why.
        source: io::Error,
    },
    /// A file that the graph takes from the client is not offered.
    #[error("{0}: the client of this build offers no such file")]
    NoUpload(String),
    /// An OCI layout that the graph names was not given.
    #[error("OCI layout `{0}` is not part of this build")]
    NoLayout(String),
    /// An OCI layout cannot be used.
    #[error("OCI layout `{name}`: {reason}")]
    Layout {
        /// Where it is, or what it is called.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A downloaded file is not the one that was wanted.
    #[error("digest mismatch {got}: {wanted} was expected of {address}")]
    Checksum {
        /// The address.
        address: String,
        /// What came.
        got: Digest,
        /// What was wanted.
        wanted: Digest,
    },
    /// Git failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A file could not be fetched.
    #[error(transparent)]
    Fetch(#[from] rbuild_registry::Error),
    /// A server does not give a file.
    #[error("invalid response status {status}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// What it said.
        source: rbuild_registry::Error,
    },
    /// A name of an image or an attribute of a source is malformed.
    #[error("invalid source `{identifier}`: {reason}")]
    Source {
        /// The source.
        identifier: String,
        /// What is wrong.
        reason: String,
    },
    /// The step is for another machine, and nothing here runs its programs.
    #[error("the step cannot run here")]
    Emulator(#[from] rbuild_sandbox::EmulatorError),
    /// What an input defines cannot be built.
    #[error("invalid nested build: {0}")]
    Nested(String),
    /// The address of a host is none.
    #[error("invalid address `{address}` of host `{host}`: neither an IP address nor host-gateway")]
    HostAddress {
        /// The host.
        host: String,
        /// What is said of its address.
        address: String,
    },
    /// An image is not the one that was wanted.
    #[error("image digest {got} for {reference} does not match expected checksum {wanted}")]
    ImageChecksum {
        /// The image's name.
        reference: String,
        /// What it means.
        got: Digest,
        /// What was wanted.
        wanted: Digest,
    },
    /// Nobody wants the step any more.
    #[error("the step was given up")]
    GivenUp,
    /// A device cannot be had.
    #[error(transparent)]
    Device(#[from] crate::device::DeviceError),
    /// Something that this version cannot do.
    #[error("{0} is not supported yet")]
    Unsupported(&'static str),
    /// A graph that contradicts itself.
    #[error("invalid build graph: {0}")]
    Graph(&'static str),
    /// An operation failed whose remains are kept.
    #[error(transparent)]
    Failed(#[from] Box<crate::remains::Failed>),
    /// A call of the system failed.
    #[error("{action}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A panic in a thread of ours.
    #[error("a thread that ran an operation panicked")]
    Panicked,
}

impl OpsError {
    /// Returns why a file could not be downloaded.
    pub(crate) fn download(error: rbuild_registry::Error) -> Self {
        match error.status() {
            Some(status) => Self::Status { status, source: error },
            None => Self::Fetch(error),
        }
    }

    pub(crate) fn io(action: &'static str, source: io::Error) -> Self {
        Self::Io { action, source }
    }
}
