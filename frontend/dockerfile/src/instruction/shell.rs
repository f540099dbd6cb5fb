//! `SHELL ["program", "argument"...]`

use super::CommandLine;
use crate::problem::Problem;
use crate::request::Request;

/// Sets the shell for the shell form of the following commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shell {
    /// Program and arguments, taken as they are; at least one word.
    pub words: Vec<String>,
}

impl Shell {
    pub(crate) fn read(request: &Request<'_>) -> Result<Self, Problem> {
        request.flags(&[])?;
        match CommandLine::read(&request.arguments) {
            CommandLine::Exec(words) if !words.is_empty() => Ok(Self { words }),
            CommandLine::Shell(text) if !text.is_empty() => {
                Err(Problem::new("SHELL requires the arguments to be in JSON form"))
            }
            CommandLine::Exec(_) | CommandLine::Shell(_) => Err(request.at_least_one()),
        }
    }
}
