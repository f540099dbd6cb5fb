//! A process that ended badly: the person's business, not ours.

/// A step's process did not end well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("process \"{}\" did not complete successfully: {}", shortened(command), self.how())]
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

/// The most characters of a command that an error repeats; the source lines show the rest.
const SHOWN: usize = 2000;

fn shortened(command: &str) -> String {
    match command.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &command[..at]),
        None => command.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_any_length_give_errors_of_some_length() {
        let failed =
            |command: String| ProcessFailed { command, code: 1, out_of_memory: false, reason: None }.to_string();
        assert_eq!(
            failed("/bin/sh -c false".into()),
            "process \"/bin/sh -c false\" did not complete successfully: exit code: 1"
        );
        assert!(failed("é".repeat(1_000_000)).len() < 5000);
    }
}
