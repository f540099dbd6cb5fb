//! `USER user[:group]`

use crate::problem::Problem;
use crate::request::Request;
use crate::source::Template;

/// Sets the user of the following steps and of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User and group, expanded later.
    pub user: Template,
}

impl User {
    pub(crate) fn read(request: &Request<'_>) -> Result<Self, Problem> {
        let user = request.only_argument()?;
        request.flags(&[])?;
        Ok(Self { user })
    }
}
