//! `HEALTHCHECK [flags] CMD command` and `HEALTHCHECK NONE`

use super::CommandLine;
use crate::arguments::Arguments;
use crate::flags::Kind;
use crate::literal::{self, quote};
use crate::problem::Problem;
use crate::request::Request;
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

const FLAGS: [(&str, Kind); 5] = [
    ("interval", Kind::Text),
    ("timeout", Kind::Text),
    ("start-period", Kind::Text),
    ("start-interval", Kind::Text),
    ("retries", Kind::Text),
];

impl Healthcheck {
    pub(crate) fn read(request: &Request<'_>) -> Result<Self, Problem> {
        let Arguments::Typed(kind, command) = &request.arguments else { return Err(request.at_least_one()) };
        let command = CommandLine::read(command);
        let kind = kind.text.to_uppercase();
        let missing = match &command {
            CommandLine::Shell(text) => text.is_empty(),
            CommandLine::Exec(words) => words.is_empty(),
        };
        if kind == "NONE" {
            // Flags are not looked at here, as BuildKit does not either.
            return if missing { Ok(Self::none()) } else { Err(Problem::new("HEALTHCHECK NONE takes no arguments")) };
        }
        let flags = request.flags(&FLAGS)?;
        if kind != "CMD" {
            return Err(Problem::new(format!("Unknown type {} in HEALTHCHECK (try CMD)", quote(&kind))));
        }
        if missing {
            return Err(Problem::new("Missing command after HEALTHCHECK CMD"));
        }
        let interval = |name| match flags.text(name) {
            Some((text, range)) => literal::interval(name, text).map_err(|reason| Problem::new(reason).at(range)),
            None => Ok(Duration::ZERO),
        };
        Ok(Self {
            test: HealthcheckCommand::Run(command),
            interval: interval("interval")?,
            timeout: interval("timeout")?,
            start_period: interval("start-period")?,
            start_interval: interval("start-interval")?,
            retries: match flags.text("retries") {
                Some((text, range)) => retries(text).map_err(|reason| Problem::new(reason).at(range))?,
                None => 0,
            },
        })
    }

    fn none() -> Self {
        Self {
            test: HealthcheckCommand::None,
            interval: Duration::ZERO,
            timeout: Duration::ZERO,
            start_period: Duration::ZERO,
            start_interval: Duration::ZERO,
            retries: 0,
        }
    }
}

fn retries(text: &str) -> Result<u32, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let retries = literal::integer(text)?;
    u32::try_from(retries).map_err(|_| format!("--retries cannot be negative ({retries})"))
}
