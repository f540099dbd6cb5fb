//! What clients may insist on (`frontend.caps`).

use crate::error::BuiltinError;

const KNOWN: [&str; 4] = [
    "moby.buildkit.frontend.inputs",
    "moby.buildkit.frontend.subrequests",
    "moby.buildkit.frontend.contexts",
    "moby.buildkit.frontend.gitquerystring",
];

/// Whether the client gets what it insists on.
#[derive(Debug)]
pub(crate) enum Checked {
    /// It does.
    Known,
    /// Only from the frontend that the Dockerfile asks for, if that is another one.
    Elsewhere(BuiltinError),
}

/// Checks a list such as `moby.buildkit.frontend.subrequests+forward,…`.
pub(crate) fn check(asked: &str) -> Result<Checked, BuiltinError> {
    let mut checked = Checked::Known;
    for cap in asked.split(',').filter(|_| !asked.is_empty()) {
        let (name, flags) = cap.split_once('+').unwrap_or((cap, ""));
        if KNOWN.contains(&name) {
            continue;
        }
        let error = BuiltinError::Capability(name.to_owned());
        if !flags.split('+').any(|flag| flag.starts_with("forward")) {
            return Err(error);
        }
        checked = Checked::Elsewhere(error);
    }
    Ok(checked)
}
