//! A process that ended badly: the person's business, not ours.

/// A step's process did not end well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("process \"{command}\" did not complete successfully: {}", self.how())]
pub struct ProcessFailed {
    /// The command line.
    pub command: String,
    /// The exit code, 128 and the signal's number for a death by signal.
    pub code: i32,
    /// Whether memory ran out.
    pub out_of_memory: bool,
    /// Why it did not even start.
    pub reason: Option<String>,
}

impl ProcessFailed {
    fn how(&self) -> String {
        let memory = if self.out_of_memory { ": out of memory" } else { "" };
        match &self.reason {
            Some(reason) => reason.clone(),
            None => format!("exit code: {}{memory}", self.code),
        }
    }
}
