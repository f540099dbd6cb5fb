//! Whether a result has the platforms that were asked for. That it has not is worth a word, no more: a frontend may
//! have its reasons.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_oci::Platform;

use crate::ExportError;
use crate::result::{BuildResult, PLATFORMS, Refs};

/// What a result consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// No result.
    Nothing,
    /// One, whatever its platform.
    One,
    /// Several, by the ids of platforms.
    Several(Vec<String>),
}

/// Returns what is to be said of the platforms of a result, of which `asked` (`os/arch,…`) were asked for; none means
/// this machine's.
///
/// # Errors
/// If the result's own list of platforms is malformed, or missing where there must be one.
pub fn platform_warnings(
    asked: Option<&str>,
    shape: &Shape,
    metadata: &BTreeMap<String, Vec<u8>>,
) -> Result<Vec<String>, ExportError> {
    let refs = match shape {
        Shape::Several(ids) => Refs::Several(ids.iter().map(|id| (id.clone(), Vec::new())).collect()),
        Shape::Nothing | Shape::One => Refs::One(Vec::new()),
    };
    let result = BuildResult { refs, metadata: metadata.clone(), attestations: BTreeMap::new() };
    if !metadata.contains_key(PLATFORMS) {
        if result.is_map() {
            let reason = "build result contains multiple refs without platforms mapping";
            return Err(ExportError::Result(reason.to_owned()));
        }
        if *shape == Shape::Nothing {
            return Ok(Vec::new());
        }
    }
    let made: Vec<Platform> = result.platforms()?.into_iter().map(|(_, platform)| platform.normalise()).collect();
    let host = Platform::host().normalise().to_string();
    Ok(match read(asked.unwrap_or(&host)) {
        Err(warnings) => warnings,
        Ok(asked) => mismatch(&asked, &made, result.is_map()).into_iter().collect(),
    })
}

/// Reads platforms; those that make no sense are told.
fn read(text: &str) -> Result<Vec<Platform>, Vec<String>> {
    let (mut platforms, mut warnings) = (Vec::new(), Vec::new());
    for name in text.split(',') {
        match name.parse::<Platform>() {
            Err(error) => warnings.push(format!("Invalid platform result requested {name:?}: {error}")),
            Ok(platform) => {
                let platform = platform.normalise();
                if platforms.contains(&platform) {
                    warnings.push(format!("Duplicate platform result requested {name:?}"));
                }
                platforms.push(platform);
            }
        }
    }
    if warnings.is_empty() { Ok(platforms) } else { Err(warnings) }
}

fn mismatch(asked: &[Platform], made: &[Platform], is_map: bool) -> Option<String> {
    if let ([asked], [made]) = (asked, made) {
        // A version of the system is rarely asked for, and often told.
        let plain = Platform { os_version: asked.os_version.clone(), ..made.clone() };
        let same = asked == made || asked.os_version.is_none() && *asked == plain;
        let words = || format!("Requested platform \"{asked}\" does not match result platform \"{made}\"");
        return (!same).then(words);
    }
    if !is_map && asked.len() > 1 {
        return Some("Multiple platforms requested but result is not multi-platform".to_owned());
    }
    let names = |platforms: &[Platform]| platforms.iter().map(Platform::to_string).collect::<BTreeSet<_>>();
    let (asked, made) = (names(asked), names(made));
    let list = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(",");
    let words =
        || format!("Requested platforms {} do not match result platforms {}", list(asked.clone()), list(made.clone()));
    (asked != made).then(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::platforms_value;

    #[test]
    fn platforms_are_compared() {
        let platforms = |names: &str| names.split(',').map(|name| name.parse().unwrap()).collect::<Vec<Platform>>();
        let check = |asked: &str, made: Option<&str>, want: &str| {
            let metadata = made.map(|made| (PLATFORMS.to_owned(), platforms_value(&platforms(made))));
            let several = |made: &str| Shape::Several(made.split(',').map(str::to_owned).collect());
            let shape = made.map_or(Shape::One, several);
            let warnings = platform_warnings(Some(asked), &shape, &metadata.into_iter().collect()).unwrap();
            assert!(warnings.join("\n").starts_with(want) && warnings.is_empty() == want.is_empty(), "{warnings:?}");
        };
        check("linux/amd64,linux/arm64", Some("linux/amd64,linux/arm64"), "");
        check("linux/arm64,linux/amd64", Some("linux/amd64,linux/arm64"), "");
        check("linux/amd64,linux/arm64", None, "Multiple platforms requested but result is not multi-platform");
        check("linux/amd64", Some("linux/amd64,linux/arm64"), "Requested platforms linux/amd64 do not match result");
        check("linux/arm64", Some("linux/amd64"), "Requested platform \"linux/arm64\" does not match");
        check("linux/arm64,linux/arm64/v8", None, "Duplicate platform result requested \"linux/arm64/v8\"");
        check("/", None, "Invalid platform result requested \"/\"");
    }

    #[test]
    fn several_results_need_platforms() {
        let nothing = BTreeMap::new();
        assert!(platform_warnings(None, &Shape::Several(vec!["a".to_owned()]), &nothing).is_err());
        assert_eq!(
            platform_warnings(Some("linux/x,linux/y"), &Shape::Nothing, &nothing).unwrap(),
            Vec::<String>::new()
        );
    }
}
