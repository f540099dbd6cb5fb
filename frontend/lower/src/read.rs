//! The step before lowering: text to instructions, with the warnings that come before an error.

use rbuild_dockerfile::{Dockerfile, Linter, Phase, first_error, interpret, parse};

use crate::check_options;
use crate::error::LowerError;
use crate::request::Request;

/// Reads a Dockerfile.
///
/// # Errors
/// Returns everything that cannot be read, and the warnings found before the first of it (L005).
pub fn read(source: &str, request: &Request) -> Result<Dockerfile, LowerError> {
    let (ast, mut found) = parse(source);
    let (dockerfile, more) = interpret(&ast);
    found.extend(more);
    let Some(error) = first_error(&found) else { return Ok(dockerfile) };
    let mut diagnostics = Vec::new();
    // A text that falls apart before its instructions are known has nothing to lint.
    if error.phase != Phase::Parse
        && let Ok(options) = check_options(&dockerfile, request)
    {
        let mut linter = Linter::new(options);
        linter.file_until(&ast, &dockerfile, error.span);
        diagnostics = linter.into_diagnostics();
    }
    found.sort_by_key(|error| (error.phase != Phase::Parse, error.span.start));
    diagnostics.append(&mut found);
    Err(LowerError { diagnostics })
}
