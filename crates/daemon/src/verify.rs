//! A word to the client if a result is not for the platforms that it asked for.

use rbuild_buildkit_api::control::{SolveRequest, VertexWarning};
use rbuild_export::{Shape, platform_warnings};
use rbuild_oci::Digest;

use crate::build::Build;
use crate::fault::Fault;
use crate::outcome::{Outcome, Refs};

/// The attribute that names the platforms.
const PLATFORM: &str = "platform";

/// Warns of a result that is not for the platforms that were asked for.
pub(crate) fn platforms(build: &Build, request: &SolveRequest, outcome: &Outcome) -> Result<(), Fault> {
    let shape = match &outcome.refs {
        Refs::None | Refs::One(None) => Shape::Nothing,
        Refs::One(Some(_)) => Shape::One,
        Refs::Many(several) => Shape::Several(several.keys().cloned().collect()),
    };
    let asked = request.frontend_attrs.get(PLATFORM).map(String::as_str);
    let warnings = platform_warnings(asked, &shape, &outcome.metadata).map_err(|error| Fault::of(&error))?;
    for warning in warnings {
        let vertex = Digest::of(warning.as_bytes()).to_string();
        build.feed().warn(VertexWarning { vertex, short: warning.into(), ..VertexWarning::default() });
    }
    Ok(())
}
