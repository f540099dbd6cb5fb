//! `ARG name[=default]...`

use crate::source::Template;

/// Declares build arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    /// The arguments, in the order written.
    pub arguments: Vec<ArgDefinition>,
}

/// One build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgDefinition {
    /// The name, taken as it is.
    pub name: Template,
    /// The default, expanded only if the build gives no value.
    pub default: Option<Template>,
    /// What the comment `# name …` above the instruction says.
    pub description: Option<String>,
}
