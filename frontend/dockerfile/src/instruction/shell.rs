//! `SHELL ["program", "argument"...]`

/// Sets the shell for the shell form of the following commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shell {
    /// Program and arguments, taken as they are; at least one word.
    pub words: Vec<String>,
}
