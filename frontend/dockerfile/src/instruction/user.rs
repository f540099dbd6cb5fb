//! `USER user[:group]`

use crate::source::Template;

/// Sets the user of the following steps and of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User and group, expanded later.
    pub user: Template,
}
