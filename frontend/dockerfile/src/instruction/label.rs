//! `LABEL key=value...` and the legacy `LABEL key value`

use super::KeyValue;

/// Sets labels of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The labels, in the order written.
    pub labels: Vec<KeyValue>,
}
