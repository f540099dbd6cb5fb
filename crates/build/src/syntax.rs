//! Which frontend a Dockerfile asks for: the built-in one, or one that is not there yet.

use rbuild_dockerfile::{Diagnostic, Phase, Place, detect_syntax};
use rbuild_lower::is_built_in;

use crate::error::BuildError;
use crate::request::BuildRequest;

/// Checks that the built-in frontend will do; `--build-arg BUILDKIT_SYNTAX` wins over the directive.
pub(crate) fn check(filename: &str, text: &str, request: &BuildRequest) -> Result<(), BuildError> {
    if let Some(asked) = request.build_args.get("BUILDKIT_SYNTAX") {
        return if is_built_in(asked) { Ok(()) } else { Err(BuildError::Input(refusal(asked))) };
    }
    match foreign(text) {
        None => Ok(()),
        Some(error) => Err(BuildError::dockerfile(&[error], filename, text, request.color)),
    }
}

/// Returns the error of a directive that asks for another frontend.
fn foreign(text: &str) -> Option<Diagnostic> {
    let directive = detect_syntax(text).filter(|directive| !is_built_in(&directive.value))?;
    let place = Place { span: directive.span, lines: directive.lines };
    let error = Diagnostic::error(Phase::Build, place, refusal(&directive.value));
    Some(error.with_hint("remove the directive to build with the built-in frontend, which speaks docker/dockerfile"))
}

fn refusal(asked: &str) -> String {
    format!("syntax `{asked}`: frontends that are images are not supported yet")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::ContextSource;

    fn refused(text: &str, argument: Option<&str>) -> Option<String> {
        let mut request = BuildRequest::new(ContextSource::Stdin);
        request.build_args.extend(argument.map(|value| ("BUILDKIT_SYNTAX".to_owned(), value.to_owned())));
        check("Dockerfile", text, &request).err().map(|error| error.to_string())
    }

    // items: F025
    #[test]
    fn built_in_frontends() {
        for name in [
            "docker/dockerfile",
            "docker/dockerfile:1",
            "docker/dockerfile:1@sha256:e3926b821cb9bdaf28fc7010ea44d6f45d45c1edca49789e61d54509b899a204",
            "docker.io/docker/dockerfile:1.7-labs",
            "docker/dockerfile-upstream:master",
            "docker.io/docker/dockerfile-upstream",
            "dockerfile.v0",
            "docker/dockerfile:1 and a command line",
        ] {
            assert_eq!(refused(&format!("# syntax={name}\nFROM x\n"), None), None, "{name}");
            assert_eq!(refused("# syntax=example.com/other\n", Some(name)), None, "{name}");
        }
        for name in
            ["example.com/frontend", "evil/dockerfile", "docker/dockerfile-x", "example.com/docker/dockerfile:1"]
        {
            let said = format!("syntax `{name}`: frontends that are images are not supported yet");
            assert_eq!(
                refused(&format!("# syntax={name}\nFROM x\n"), None).unwrap(),
                format!("failed to solve: {said}")
            );
            assert_eq!(refused("# syntax=docker/dockerfile:1\n", Some(name)).unwrap(), said);
        }
        assert!(refused("FROM x\n", Some("")).is_some());
    }

    // items: F024
    #[test]
    fn directives_are_found_where_other_languages_have_them() {
        for (text, is_refused) in [
            ("\u{feff}# syntax=other\n", true),
            ("#!/usr/bin/env x\n# escape=`\n# SYNTAX = other\n", true),
            ("// syntax=other\n", true),
            ("{\"syntax\": \"other\"}", true),
            ("# a comment\n# syntax=other\nFROM x\n", false),
            ("\n# syntax=other\nFROM x\n", false),
            ("FROM x\n# syntax=other\n", false),
        ] {
            assert_eq!(refused(text, None).is_some(), is_refused, "{text}");
        }
    }

    // items: F025
    #[test]
    fn other_frontends_are_refused_with_the_line() {
        for (text, expect) in [
            ("# escape=`\n# syntax=example.com/frontend opt=1\nFROM x\n", Some(("example.com/frontend opt=1", 2))),
            ("// syntax=example.com/frontend\n", Some(("example.com/frontend", 1))),
            ("#!/x\n# syntax = example.com/frontend\n", Some(("example.com/frontend", 2))),
            ("{\"syntax\": \"example.com/frontend\"}", Some(("example.com/frontend", 1))),
            ("# syntax=docker/dockerfile:1.7 # x\nFROM x\n", None),
            ("# a\n# syntax=example.com/frontend\nFROM x\n", None),
            ("FROM x\n", None),
        ] {
            let found = foreign(text).map(|error| (error.message, error.lines.start));
            let expect = expect.map(|(asked, line)| (refusal(asked), line));
            assert_eq!(found, expect, "{text}");
        }
    }
}
