//! `FROM [--platform=p] base [AS name]`

use crate::flags::Kind;
use crate::literal::quote;
use crate::problem::Problem;
use crate::request::Request;
use crate::source::Template;

/// Opens a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// The image or earlier stage, expanded later with the global arguments.
    pub base: Template,
    /// `--platform`, expanded later with the global arguments.
    pub platform: Option<Template>,
    /// The word between base and name as written (`AS`, `as`).
    pub as_keyword: Option<String>,
    /// The stage's name as written.
    pub name: Option<Template>,
}

impl From {
    pub(crate) fn read(request: &Request<'_>) -> Result<Self, Problem> {
        let words = request.words();
        let (base, as_keyword, name) = match words.as_slice() {
            [base] => (base, None, None),
            [base, keyword, name] if keyword.text.eq_ignore_ascii_case("as") => {
                check_name(&name.text)?;
                (base, Some(keyword.text.clone()), Some(name.clone()))
            }
            _ => return Err(Problem::new("FROM requires either one or three arguments")),
        };
        let platform = request.flags(&[("platform", Kind::Text)])?.template("platform", request);
        Ok(Self { base: base.clone(), platform, as_keyword, name })
    }
}

fn check_name(name: &str) -> Result<(), Problem> {
    let lower = name.to_lowercase();
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    if lower.starts_with(|c: char| c.is_ascii_lowercase()) && lower.chars().all(rest) {
        return Ok(());
    }
    let reason = "name can't start with a number or contain symbols";
    Err(Problem::new(format!("invalid name for build stage: {}, {reason}", quote(name))))
}
