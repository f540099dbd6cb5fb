//! Why a container did not run.

/// Why a container did not run; [`exit_code`](Self::exit_code) is what the program's caller gets.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The request contradicts itself or the image.
    #[error("{0}")]
    Request(String),
    /// The image cannot be had.
    #[error(transparent)]
    Images(#[from] rbuild_images::ImagesError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] rbuild_store::Error),
    /// The root could not be made.
    #[error(transparent)]
    Snapshot(#[from] rbuild_snapshot::SnapshotError),
    /// The network could not be made.
    #[error(transparent)]
    Network(#[from] rbuild_network::NetworkError),
    /// The sandbox could not be made, or the program could not be executed.
    #[error(transparent)]
    Sandbox(#[from] rbuild_sandbox::SandboxError),
    /// The image is for another machine, and nothing here runs its programs.
    #[error(transparent)]
    Emulator(#[from] rbuild_sandbox::EmulatorError),
    /// A call of the system failed.
    #[error("{action}")]
    Io {
        /// What was attempted.
        action: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl EngineError {
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    /// Returns the exit code as docker has it: 127 if the program is not there, 126 if it cannot be
    /// executed, 125 for all else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Sandbox(error) => error.exec_code().unwrap_or(125),
            _ => 125,
        }
    }
}
