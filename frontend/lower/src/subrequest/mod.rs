//! Questions about a Dockerfile that build nothing: BuildKit's frontend subrequests (O004).
//!
//! ```text
//! text ─read▶ Dockerfile ─────────▶ targets
//!                 ╰──lower──▶ Lowered.outline ▶ outline
//!       ╰─diagnostics─┴─warnings────▶ lint
//! ```
//!
//! An [`Answer`] is what BuildKit puts into the metadata of such a request's result: `result.json`, `result.txt`,
//! `version` and for lint `result.statuscode`. How a person asks, and where the answer is written, is the doors'
//! matter.

mod describe;
mod lint;
mod location;
mod outline;
mod table;
mod targets;

use rbuild_dockerfile::render::Color;

use crate::bridge::Bridge;
use crate::error::LowerError;
use crate::request::Request;
use crate::{lower, read};

/// A question about a Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subrequest {
    /// What the lint rules have to say, and whether the file can be built at all.
    Lint,
    /// What the target takes from outside: arguments, secrets, agents.
    Outline,
    /// Which targets there are.
    Targets,
    /// Which questions there are.
    Describe,
}

/// What a subrequest results in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// `result.json`.
    pub json: String,
    /// `result.txt`.
    pub text: String,
    /// `version` of the JSON's form.
    pub version: &'static str,
    /// What lint found; its status code is 1 if that is anything. None for other questions.
    pub findings: Option<Findings>,
}

/// What lint found, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// How many warnings there are.
    pub warnings: usize,
    /// Why the file cannot be built: each error with its source lines. Not part of the text.
    pub errors: Vec<String>,
}

impl Findings {
    /// Returns `result.statuscode`.
    pub fn status(&self) -> u8 {
        u8::from(self.warnings > 0 || !self.errors.is_empty())
    }
}

impl Subrequest {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Lint, Self::Outline, Self::Targets, Self::Describe];

    /// Returns the name under which a client asks (`requestid`).
    pub fn name(self) -> &'static str {
        match self {
            Self::Lint => "frontend.lint",
            Self::Outline => "frontend.outline",
            Self::Targets => "frontend.targets",
            Self::Describe => "frontend.subrequests.describe",
        }
    }

    /// Finds the question called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|asked| asked.name() == name)
    }
}

/// Answers a question about the Dockerfile in `source`; builds nothing. The text comes with colours if asked for.
///
/// # Errors
/// If the Dockerfile cannot be read or lowered and the question is not about that.
pub async fn answer(
    asked: Subrequest,
    source: &str,
    request: &Request,
    bridge: &dyn Bridge,
    color: Color,
) -> Result<Answer, LowerError> {
    match asked {
        Subrequest::Lint => Ok(lint::answer(&lint(source, request, bridge).await, &request.filename, source, color)),
        Subrequest::Outline => {
            let lowered = lower(&read(source, request)?, source, request, bridge).await?;
            Ok(outline::answer(&lowered.outline, source))
        }
        Subrequest::Targets => Ok(targets::answer(&read(source, request)?, source)),
        Subrequest::Describe => Ok(describe::answer()),
    }
}

/// Returns warnings and errors; without a target those of all stages (L002).
async fn lint(source: &str, request: &Request, bridge: &dyn Bridge) -> Vec<rbuild_dockerfile::Diagnostic> {
    let no_target = request.target.as_deref().is_none_or(str::is_empty);
    let request = Request { all_stages: request.all_stages || no_target, ..request.clone() };
    let dockerfile = match read(source, &request) {
        Ok(dockerfile) => dockerfile,
        Err(error) => return error.diagnostics,
    };
    match lower(&dockerfile, source, &request, bridge).await {
        Ok(lowered) => lowered.warnings,
        Err(error) => error.diagnostics,
    }
}

/// Returns the indented JSON of an answer.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).expect("texts and numbers always make JSON")
}
