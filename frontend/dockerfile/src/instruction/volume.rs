//! `VOLUME path...` and `VOLUME ["path", ...]`

use crate::problem::Problem;
use crate::request::Request;
use crate::source::Template;

/// Declares volumes of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The paths, expanded later.
    pub paths: Vec<Template>,
}

impl Volume {
    pub(crate) fn read(request: &Request<'_>) -> Result<Self, Problem> {
        let mut paths = request.some_words()?;
        request.flags(&[])?;
        for path in &mut paths {
            path.text = path.text.trim().to_owned();
            if path.text.is_empty() {
                return Err(Problem::new("VOLUME specified can not be an empty string"));
            }
        }
        Ok(Self { paths })
    }
}
