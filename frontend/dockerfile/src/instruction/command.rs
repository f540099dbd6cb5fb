//! `CMD` and `ENTRYPOINT`, and the command line they share with `RUN` and `HEALTHCHECK`

use crate::arguments::Arguments;
use crate::problem::Problem;
use crate::request::Request;

/// A command in one of its two forms; the builder expands neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// One text for the shell of the stage.
    Shell(String),
    /// The words of a JSON array, run as they are; may be empty.
    Exec(Vec<String>),
}

/// Sets the default command of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cmd {
    /// The command; `CMD []` is an empty list.
    pub command: CommandLine,
}

/// Sets the entry point of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entrypoint {
    /// The command; `ENTRYPOINT []` (an empty list) takes the entry point away, unlike `CMD []`.
    pub command: CommandLine,
}

impl CommandLine {
    pub(crate) fn read(arguments: &Arguments) -> Self {
        match arguments {
            Arguments::Json(words, _) => Self::Exec(words.clone()),
            Arguments::Text(word) => Self::Shell(word.text.clone()),
            // No keyword with a command has its arguments cut in another way.
            Arguments::Words(_) | Arguments::Pairs(_) | Arguments::Typed(..) | Arguments::Trigger(_) => {
                Self::Shell(String::new())
            }
        }
    }
}

impl Cmd {
    pub(crate) fn read(request: &Request<'_>) -> Result<Self, Problem> {
        request.flags(&[])?;
        Ok(Self { command: CommandLine::read(&request.arguments) })
    }
}

impl Entrypoint {
    pub(crate) fn read(request: &Request<'_>) -> Result<Self, Problem> {
        request.flags(&[])?;
        Ok(Self { command: CommandLine::read(&request.arguments) })
    }
}
