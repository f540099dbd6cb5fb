//! `HEALTHCHECK [flags] CMD command` and `HEALTHCHECK NONE`

use super::CommandLine;
use std::time::Duration;

/// Sets or disables the health check of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// What is run.
    pub test: HealthcheckCommand,
    /// `--interval`; zero if not given.
    pub interval: Duration,
    /// `--timeout`; zero if not given.
    pub timeout: Duration,
    /// `--start-period`; zero if not given.
    pub start_period: Duration,
    /// `--start-interval`; zero if not given.
    pub start_interval: Duration,
    /// `--retries`; zero if not given.
    pub retries: u32,
}

/// What a health check runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthcheckCommand {
    /// Nothing: the check of the base image is switched off.
    None,
    /// A command; its shell form runs in the container's default shell, not in `SHELL`.
    Run(CommandLine),
}

impl Healthcheck {
    /// Returns the `Test` list of the image configuration.
    pub fn test_words(&self) -> Vec<String> {
        match &self.test {
            HealthcheckCommand::None => vec!["NONE".to_owned()],
            HealthcheckCommand::Run(CommandLine::Shell(text)) => vec!["CMD-SHELL".to_owned(), text.clone()],
            HealthcheckCommand::Run(CommandLine::Exec(words)) => {
                std::iter::once("CMD".to_owned()).chain(words.iter().cloned()).collect()
            }
        }
    }
}
