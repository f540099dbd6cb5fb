//! `ADD [flags] source... destination`

use super::Sources;
use crate::source::Template;

/// Copies files, and also archives (unpacked), URLs and git repositories.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Add {
    /// What is added, and where to.
    pub sources: Sources,
    /// `--chown`, expanded later.
    pub chown: Option<Template>,
    /// `--chmod`, expanded later.
    pub chmod: Option<Template>,
    /// `--link`
    pub link: bool,
    /// `--exclude`, repeatable, never expanded.
    pub exclude: Vec<Template>,
    /// `--keep-git-dir`, if given.
    pub keep_git_dir: Option<bool>,
    /// `--checksum`, expanded later.
    pub checksum: Option<Template>,
    /// `--unpack`, if given.
    pub unpack: Option<bool>,
}
