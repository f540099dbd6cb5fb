//! `VOLUME path...` and `VOLUME ["path", ...]`

use crate::source::Template;

/// Declares volumes of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The paths, expanded later.
    pub paths: Vec<Template>,
}
