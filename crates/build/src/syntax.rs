//! Which frontend a Dockerfile asks for: the built-in one, or one that is not there yet.

use rbuild_dockerfile::{Diagnostic, Phase, Place, detect_syntax};
use rbuild_oci::Reference;

use crate::error::BuildError;
use crate::request::BuildRequest;

/// Names of images whose language the built-in frontend speaks.
const BUILT_IN: [&str; 2] = ["docker/dockerfile", "docker/dockerfile-upstream"];

/// Checks that the built-in frontend will do; `--build-arg BUILDKIT_SYNTAX` wins over the directive.
pub(crate) fn check(filename: &str, text: &str, request: &BuildRequest) -> Result<(), BuildError> {
    if let Some(asked) = request.build_args.get("BUILDKIT_SYNTAX") {
        return if is_built_in(asked) { Ok(()) } else { Err(BuildError::Input(refusal(asked))) };
    }
    let Some(directive) = detect_syntax(text).filter(|directive| !is_built_in(&directive.value)) else { return Ok(()) };
    let place = Place { span: directive.span, lines: directive.lines };
    let error = Diagnostic::error(Phase::Build, place, refusal(&directive.value))
        .with_hint("remove the directive to build with the built-in frontend, which speaks docker/dockerfile");
    Err(BuildError::dockerfile(&[error], filename, text, request.color))
}

fn refusal(asked: &str) -> String {
    format!("syntax `{asked}`: frontends that are images are not supported yet")
}

fn is_built_in(asked: &str) -> bool {
    let name = asked.split_whitespace().next().unwrap_or_default();
    name == "dockerfile.v0"
        || Reference::parse(name).is_ok_and(|image| BUILT_IN.contains(&image.familiar_name().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_frontends() {
        for name in
            ["docker/dockerfile", "docker/dockerfile:1", "docker.io/docker/dockerfile:1.7-labs", "dockerfile.v0"]
        {
            assert!(is_built_in(name), "{name}");
        }
        for name in ["", "example.com/frontend", "evil/dockerfile", "docker/dockerfile-x"] {
            assert!(!is_built_in(name), "{name}");
        }
    }
}
