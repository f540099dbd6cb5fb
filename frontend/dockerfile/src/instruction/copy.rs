//! `COPY [flags] source... destination`

use super::Sources;
use crate::source::Template;

/// Copies files from the build context, another stage, an image or a named context.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Copy {
    /// What is copied, and where to.
    pub sources: Sources,
    /// `--from`, never expanded (a variable in it is an error that whoever resolves stages reports).
    pub from: Option<Template>,
    /// `--chown`, expanded later.
    pub chown: Option<Template>,
    /// `--chmod`, expanded later.
    pub chmod: Option<Template>,
    /// `--link`
    pub link: bool,
    /// `--parents`
    pub parents: bool,
    /// `--exclude`, repeatable, never expanded.
    pub exclude: Vec<Template>,
}
