//! The value of `# check=`: `skip=A,B|all;experimental=A|all;error=true`.

use super::Rule;
use crate::literal::quote;
use std::collections::BTreeSet;

/// Which rules are on, and whether a warning fails the build.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckOptions {
    /// Whether every rule is off.
    pub skip_all: bool,
    /// The rules that are off.
    pub skip: BTreeSet<String>,
    /// Whether every experimental rule is on.
    pub experimental_all: bool,
    /// The experimental rules that are on.
    pub experimental: BTreeSet<String>,
    /// Whether a warning fails the build.
    pub error: bool,
}

/// Why the value of `# check=` cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum OptionError {
    #[error("invalid check option {}", quote(.0))]
    Unknown(String),
    #[error("failed to parse check option {}: strconv.ParseBool: parsing {}: invalid syntax", quote(.option), quote(.value))]
    Boolean { option: String, value: String },
}

impl OptionError {
    /// Returns the nearest option there is.
    pub fn suggestion(&self) -> Option<String> {
        match self {
            Self::Unknown(option) => crate::suggest::nearest(option, ["error", "experimental", "skip"], true),
            Self::Boolean { .. } => None,
        }
    }
}

impl CheckOptions {
    /// Reads the value of a `check` directive or of `BUILDKIT_DOCKERFILE_CHECK`.
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let mut options = Self::default();
        let text = text.trim();
        if text.is_empty() {
            return Ok(options);
        }
        for part in text.splitn(3, ';') {
            let (key, value) = part.split_once('=').ok_or_else(|| OptionError::Unknown(part.to_owned()))?;
            let value = value.trim();
            match key.trim() {
                "skip" if value == "all" => options.skip_all = true,
                "skip" => options.skip = names(value),
                "experimental" if value == "all" => options.experimental_all = true,
                "experimental" => options.experimental = names(value),
                "error" => {
                    options.error = crate::literal::boolean(value)
                        .ok_or_else(|| OptionError::Boolean { option: part.to_owned(), value: value.to_owned() })?;
                }
                other => return Err(OptionError::Unknown(other.to_owned())),
            }
        }
        Ok(options)
    }

    /// Tells whether `rule` is on for an instruction with these `comments` above it.
    pub fn allows(&self, rule: &Rule, comments: &[String]) -> bool {
        let local = Self::from_comments(comments);
        let on = |pick: fn(&Self) -> bool, set: fn(&Self) -> &BTreeSet<String>| {
            [Some(self), local.as_ref()]
                .into_iter()
                .flatten()
                .any(|options| pick(options) || set(options).contains(rule.name))
        };
        if rule.experimental {
            on(|options| options.experimental_all, |options| &options.experimental)
        } else {
            !on(|options| options.skip_all, |options| &options.skip)
        }
    }

    /// Reads the first `check=` among the comments above an instruction; one that cannot be read counts for
    /// nothing.
    fn from_comments(comments: &[String]) -> Option<Self> {
        let value = comments.iter().find_map(|comment| crate::directive::inline_check(comment))?;
        Self::parse(value.split(' ').next().unwrap_or("")).ok()
    }
}

fn names(list: &str) -> BTreeSet<String> {
    list.split(',').map(|name| name.trim().to_owned()).collect()
}
