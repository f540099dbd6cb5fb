//! `MAINTAINER name`, deprecated

use crate::problem::Problem;
use crate::request::Request;

/// Sets the author of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintainer {
    /// The author, taken as it is.
    pub name: String,
}

impl Maintainer {
    pub(crate) fn read(request: &Request<'_>) -> Result<Self, Problem> {
        let name = request.only_argument()?.text;
        request.flags(&[])?;
        Ok(Self { name })
    }
}
