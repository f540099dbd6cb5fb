//! What a build returned, whoever its client is: layers by platform, metadata, attestations.

use std::collections::BTreeMap;

use rbuild_oci::{ImageConfig, Platform};
use rbuild_store::LayerId;
use serde::Deserialize;

use crate::ExportError;
use crate::attestation::Attestation;
use crate::attributes::parse_epoch;

/// The key of an image's configuration, alone or followed by `/` and a platform's id.
pub const CONFIG: &str = "containerimage.config";
/// The key of the base image's configuration.
pub const BASE_CONFIG: &str = "containerimage.base.config";
/// The key of the platforms of a result that has several.
pub const PLATFORMS: &str = "refs.platforms";
/// The key of `SOURCE_DATE_EPOCH`.
pub const EPOCH: &str = "source.date.epoch";
/// The key of the name that `name=*` stands for.
pub const IMAGE_NAME: &str = "image.name";
/// The most platforms of a result.
const MAX_PLATFORMS: usize = 1000;

/// The layers of a result, bottom first; no layers are an empty root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refs {
    /// One result.
    One(Vec<LayerId>),
    /// Results by the ids that [`PLATFORMS`] gives them.
    Several(BTreeMap<String, Vec<LayerId>>),
}

/// What a build returned.
#[derive(Debug, Clone)]
pub struct BuildResult {
    /// The layers.
    pub refs: Refs,
    /// What the frontend tells about them.
    pub metadata: BTreeMap<String, Vec<u8>>,
    /// Attestations by the ids of platforms.
    pub attestations: BTreeMap<String, Vec<Attestation>>,
}

/// One platform's part of a result.
#[derive(Debug, Clone)]
pub struct Part {
    /// What the result calls the platform.
    pub id: String,
    /// The platform.
    pub platform: Platform,
    /// The layers, bottom first.
    pub layers: Vec<LayerId>,
    /// The configuration as the client gave it, if it did.
    pub config: Option<Vec<u8>>,
    /// The base image's configuration.
    pub base: Option<ImageConfig>,
    /// The epoch, in seconds since 1970.
    pub epoch: Option<i64>,
    /// What is attested about it.
    pub attestations: Vec<Attestation>,
    /// The time that new layers were rewritten to.
    pub rewritten: Option<i64>,
}

#[derive(Deserialize)]
struct Platforms {
    #[serde(rename = "Platforms", default)]
    platforms: Option<Vec<Named>>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(rename = "Platform")]
    platform: Told,
}

/// What a configuration or a list of platforms tells of one.
#[derive(Deserialize)]
struct Told {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
    #[serde(rename = "os.version")]
    os_version: Option<String>,
    #[serde(rename = "os.features")]
    os_features: Option<Vec<String>>,
}

impl Told {
    /// None if neither system nor architecture is told.
    fn platform(self) -> Result<Option<Platform>, ExportError> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        match (given(self.os), given(self.architecture)) {
            (Some(os), Some(architecture)) => Ok(Some(
                Platform {
                    os,
                    architecture,
                    variant: given(self.variant),
                    os_version: given(self.os_version),
                    os_features: self.os_features.unwrap_or_default(),
                }
                .normalise(),
            )),
            (None, None) => Ok(None),
            _ => Err(refused("invalid image config: os and architecture must be specified together")),
        }
    }
}

impl BuildResult {
    /// Returns whether the result has parts by name, so that an image of it has an index and its files have folders.
    pub fn is_map(&self) -> bool {
        matches!(&self.refs, Refs::Several(refs) if !refs.is_empty())
    }

    /// Returns the parts, in the order in which the result tells its platforms.
    ///
    /// # Errors
    /// If metadata are malformed, or do not fit the layers.
    pub fn parts(&self) -> Result<Vec<Part>, ExportError> {
        let platforms = self.platforms()?;
        if !self.is_map() && platforms.len() > 1 {
            return Err(refused("cannot export multiple platforms without multi-platform enabled"));
        }
        platforms.into_iter().map(|(id, platform)| self.part(id, platform)).collect()
    }

    fn part(&self, id: String, platform: Platform) -> Result<Part, ExportError> {
        let layers = self.layers(&id).ok_or_else(|| refused(&format!("failed to find ref for ID {id}")))?;
        let base = match self.of_platform(BASE_CONFIG, &id).filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => Some(
                ImageConfig::parse(bytes)
                    .map_err(|error| refused(&format!("failed to read the base image config: {}", chain(&error))))?,
            ),
            None => None,
        };
        Ok(Part {
            layers: layers.to_vec(),
            config: self.of_platform(CONFIG, &id).filter(|bytes| !bytes.is_empty()).cloned(),
            base,
            epoch: self.epoch(&id)?,
            attestations: self.attestations.get(&id).cloned().unwrap_or_default(),
            rewritten: None,
            id,
            platform,
        })
    }

    /// A map of one part gives it for any id, as BuildKit's does.
    fn layers(&self, id: &str) -> Option<&[LayerId]> {
        match &self.refs {
            Refs::One(layers) => Some(layers),
            Refs::Several(refs) if refs.is_empty() => Some(&[]),
            Refs::Several(refs) => {
                let only = || refs.values().next().filter(|_| refs.len() == 1);
                refs.get(id).or_else(only).map(Vec::as_slice)
            }
        }
    }

    /// Returns the platforms and their ids, in the order in which the result tells them.
    ///
    /// # Errors
    /// If what it tells is malformed.
    pub fn platforms(&self) -> Result<Vec<(String, Platform)>, ExportError> {
        match self.metadata.get(PLATFORMS) {
            Some(bytes) => named_platforms(bytes),
            None if self.is_map() => Err(refused("unable to export multiple refs, missing platforms mapping")),
            None => {
                let platform = match self.metadata.get(CONFIG).filter(|bytes| !bytes.is_empty()) {
                    Some(bytes) if bytes == b"null" => return Err(refused("invalid null image config for export")),
                    Some(bytes) => {
                        let told: Told = rbuild_oci::json::from_slice(bytes)
                            .map_err(|error| refused(&format!("invalid image config: {}", chain(&error))))?;
                        told.platform()?
                    }
                    None => None,
                };
                let platform = platform.unwrap_or_else(|| Platform::host().normalise());
                Ok(vec![(platform.to_string(), platform)])
            }
        }
    }

    fn epoch(&self, id: &str) -> Result<Option<i64>, ExportError> {
        let Some(bytes) = self.of_platform(EPOCH, id) else { return Ok(None) };
        let text = String::from_utf8_lossy(bytes);
        parse_epoch(&text)
            .ok_or_else(|| refused(&format!("invalid SOURCE_DATE_EPOCH from frontend: {:?}", clipped(&text))))
    }

    /// Returns what is told for one platform, or else for all.
    fn of_platform(&self, key: &str, id: &str) -> Option<&Vec<u8>> {
        self.metadata.get(&format!("{key}/{id}")).or_else(|| self.metadata.get(key))
    }
}

fn named_platforms(bytes: &[u8]) -> Result<Vec<(String, Platform)>, ExportError> {
    let told: Platforms = match bytes {
        [] | b"null" => Platforms { platforms: None },
        bytes => rbuild_oci::json::from_slice(bytes)
            .map_err(|error| refused(&format!("failed to read the platforms of the result: {}", chain(&error))))?,
    };
    let told = told.platforms.unwrap_or_default();
    if told.is_empty() {
        return Err(refused("invalid empty platforms index for exporter"));
    }
    if told.len() > MAX_PLATFORMS {
        return Err(refused(&format!("a result of more than {MAX_PLATFORMS} platforms")));
    }
    let mut platforms = Vec::with_capacity(told.len());
    for Named { id, platform } in told {
        if id.is_empty() {
            return Err(refused("invalid empty platform key for exporter"));
        }
        let platform = platform.platform().ok().flatten();
        let platform =
            platform.ok_or_else(|| refused(&format!("invalid platform value of {} for exporter", clipped(&id))))?;
        platforms.push((id, platform));
    }
    Ok(platforms)
}

/// Returns the value of [`PLATFORMS`] for platforms whose ids are their names.
pub fn platforms_value(platforms: &[Platform]) -> Vec<u8> {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Written<'a> {
        #[serde(rename = "ID")]
        id: String,
        platform: &'a Platform,
    }
    let written: Vec<_> = platforms.iter().map(|platform| Written { id: platform.to_string(), platform }).collect();
    rbuild_oci::json::to_vec(&BTreeMap::from([("Platforms", written)]))
}

fn refused(reason: &str) -> ExportError {
    ExportError::Result(reason.to_owned())
}

fn clipped(text: &str) -> String {
    text.chars().take(200).collect()
}

/// Returns an error with its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
#[path = "result_tests.rs"]
mod tests;
