//! What is returned of each platform: its graph, and the metadata that exporters read.

use std::collections::BTreeMap;

use rbuild_lower::{Lowered, platform_with_version};
use rbuild_oci::{ImageConfig, Platform, json};
use serde::Serialize;

use crate::answered::{Answered, Refs};
use crate::inputs::CONFIG;

/// The key of the configuration of the image that a result is built upon.
const BASE_CONFIG: &str = "containerimage.base.config";
/// The key of the time that a result is made at, in seconds since 1970.
const EPOCH: &str = "source.date.epoch";
/// The key of the list of platforms.
const PLATFORMS: &str = "refs.platforms";

/// A platform of a result, as `refs.platforms` has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Exported {
    /// The id of the result.
    #[serde(rename = "ID")]
    pub(crate) id: String,
    platform: Platform,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct List<'a> {
    platforms: &'a [Exported],
}

/// Returns the platforms of the results: those asked for, else the machine's.
pub(crate) fn platforms(asked: &[Platform], build_platform: &Platform, lowered: &[Lowered]) -> Vec<Exported> {
    let one = std::slice::from_ref(build_platform);
    let asked = if asked.is_empty() { one } else { asked };
    asked.iter().zip(lowered).map(|(platform, lowered)| exported(platform, &lowered.config)).collect()
}

fn exported(platform: &Platform, image: &ImageConfig) -> Exported {
    let mut platform = platform.clone().normalise();
    let id = platform_with_version(&platform);
    if platform.os == "windows" && image.os == platform.os {
        platform.os_version = platform.os_version.or_else(|| image.os_version.clone());
        if platform.os_features.is_empty() {
            platform.os_features.clone_from(&image.os_features);
        }
    }
    Exported { id, platform }
}

/// Joins the results of all platforms.
pub(crate) fn answered(platforms: Vec<Exported>, lowered: Vec<Lowered>, multi_platform: bool) -> Answered {
    let mut metadata = BTreeMap::from([(PLATFORMS.to_owned(), json::to_vec(&List { platforms: &platforms }))]);
    let mut refs = Vec::with_capacity(lowered.len());
    for (platform, lowered) in platforms.into_iter().zip(lowered) {
        let key = |name: &str| if multi_platform { format!("{name}/{}", platform.id) } else { name.to_owned() };
        metadata.insert(key(CONFIG), json::to_vec(&lowered.config));
        if let Some(base) = &lowered.base {
            metadata.insert(key(BASE_CONFIG), json::to_vec(&base.config));
        }
        if let Some(epoch) = lowered.epoch {
            metadata.insert(key(EPOCH), epoch.to_string().into_bytes());
        }
        refs.push((platform.id, lowered.definition));
    }
    let refs = match multi_platform {
        true => Refs::Platforms(refs),
        false => refs.into_iter().next().map_or(Refs::None, |(_, definition)| Refs::Single(definition)),
    };
    Answered { refs, metadata, ..Answered::default() }
}
