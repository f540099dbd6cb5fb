//! `EXPOSE port...`

use crate::source::Template;

/// Declares ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expose {
    /// The words, sorted bytewise; each may expand to several (it is split after expansion).
    pub ports: Vec<Template>,
}
