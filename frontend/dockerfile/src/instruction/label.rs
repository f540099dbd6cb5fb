//! `LABEL key=value...` and the legacy `LABEL key value`

use super::KeyValue;
use crate::problem::Problem;
use crate::request::Request;

/// Sets labels of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The labels, in the order written.
    pub labels: Vec<KeyValue>,
}

impl Label {
    pub(crate) fn read(request: &Request<'_>) -> Result<Self, Problem> {
        Ok(Self { labels: KeyValue::read_all(request)? })
    }
}
