//! `COPY [flags] source... destination`

use super::Sources;
use super::sources::too_few;
use crate::flags::Kind;
use crate::problem::Problem;
use crate::request::Request;
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

const FLAGS: [(&str, Kind); 6] = [
    ("chown", Kind::Text),
    ("from", Kind::Text),
    ("chmod", Kind::Text),
    ("link", Kind::Bool),
    ("exclude", Kind::List),
    ("parents", Kind::Bool),
];

impl Copy {
    pub(crate) fn read(request: &Request<'_>) -> Result<Self, Problem> {
        if request.words().len() < 2 {
            return Err(too_few(request));
        }
        let flags = request.flags(&FLAGS)?;
        Ok(Self {
            sources: Sources::read(request)?,
            from: flags.template("from", request),
            chown: flags.template("chown", request),
            chmod: flags.template("chmod", request),
            link: flags.bool("link").unwrap_or(false),
            parents: flags.bool("parents").unwrap_or(false),
            exclude: flags.list("exclude", request).into_iter().map(|(pattern, _)| pattern).collect(),
        })
    }
}
