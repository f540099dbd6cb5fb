//! `CMD` and `ENTRYPOINT`, and the command line they share with `RUN` and `HEALTHCHECK`

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
