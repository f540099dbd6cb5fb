//! `ADD [flags] source... destination`

use super::Sources;
use super::sources::too_few;
use crate::flags::Kind;
use crate::problem::Problem;
use crate::request::Request;
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

const FLAGS: [(&str, Kind); 7] = [
    ("chown", Kind::Text),
    ("chmod", Kind::Text),
    ("link", Kind::Bool),
    ("keep-git-dir", Kind::Bool),
    ("checksum", Kind::Text),
    ("unpack", Kind::Bool),
    ("exclude", Kind::List),
];

impl Add {
    pub(crate) fn read(request: &Request<'_>) -> Result<Self, Problem> {
        if request.words().len() < 2 {
            return Err(too_few(request));
        }
        let flags = request.flags(&FLAGS)?;
        Ok(Self {
            sources: Sources::read(request)?,
            chown: flags.template("chown", request),
            chmod: flags.template("chmod", request),
            link: flags.bool("link").unwrap_or(false),
            exclude: flags.list("exclude", request).into_iter().map(|(pattern, _)| pattern).collect(),
            keep_git_dir: flags.bool("keep-git-dir"),
            checksum: flags.template("checksum", request),
            unpack: flags.bool("unpack"),
        })
    }
}
