//! `WORKDIR path`

use crate::problem::Problem;
use crate::request::Request;
use crate::source::Template;

/// Sets (and makes) the working directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workdir {
    /// The path, expanded later; relative ones join the directory set before.
    pub path: Template,
}

impl Workdir {
    pub(crate) fn read(request: &Request<'_>) -> Result<Self, Problem> {
        let path = request.only_argument()?;
        request.flags(&[])?;
        Ok(Self { path })
    }
}
