//! `FROM [--platform=p] base [AS name]`

use crate::source::Template;

/// Opens a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// The image or earlier stage, expanded later with the global arguments.
    pub base: Template,
    /// `--platform`, expanded later with the global arguments.
    pub platform: Option<Template>,
    /// The word between base and name as written (`AS`, `as`).
    pub as_keyword: Option<String>,
    /// The stage's name as written.
    pub name: Option<Template>,
}
