//! Which frontends the built-in one speaks for.

use rbuild_oci::Reference;

/// Names of images whose language the built-in frontend speaks.
const BUILT_IN: [&str; 2] = ["docker/dockerfile", "docker/dockerfile-upstream"];

/// Returns whether the frontend that `asked` names, perhaps followed by arguments, is the built-in one.
pub fn is_built_in(asked: &str) -> bool {
    let name = asked.split_whitespace().next().unwrap_or_default();
    name == "dockerfile.v0"
        || Reference::parse(name).is_ok_and(|image| BUILT_IN.contains(&image.familiar_name().as_str()))
}
