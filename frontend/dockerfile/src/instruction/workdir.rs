//! `WORKDIR path`

use crate::source::Template;

/// Sets (and makes) the working directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workdir {
    /// The path, expanded later; relative ones join the directory set before.
    pub path: Template,
}
