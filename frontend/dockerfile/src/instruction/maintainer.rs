//! `MAINTAINER name`, deprecated

/// Sets the author of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintainer {
    /// The author, taken as it is.
    pub name: String,
}
