//! Annotations of manifests, indexes and their descriptors: `annotation-manifest[linux/arm64].key=value`.

use std::collections::BTreeMap;

use rbuild_oci::Platform;

use crate::ExportError;

/// What an annotation stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Manifest,
    ManifestDescriptor,
    Index,
    IndexDescriptor,
}

/// Annotations by key.
pub type Annotated = BTreeMap<String, String>;

/// The annotations that an output asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations {
    asked: BTreeMap<(Place, Option<Platform>, String), String>,
}

impl Annotations {
    /// Takes one attribute or one entry of a result's metadata; returns whether it is an annotation.
    ///
    /// # Errors
    /// If it is one of a kind or platform that nobody knows.
    pub fn take(&mut self, name: &str, value: &str) -> Result<bool, ExportError> {
        let Some((kind, platform, key)) = split(name) else { return Ok(false) };
        let refused = |reason: String| ExportError::Annotation { name: name.to_owned(), reason };
        let place = match kind {
            "" | "manifest" => Place::Manifest,
            "manifest-descriptor" => Place::ManifestDescriptor,
            "index" => Place::Index,
            "index-descriptor" => Place::IndexDescriptor,
            other => return Err(refused(format!("unrecognized annotation type {other}"))),
        };
        let platform = platform.map(Platform::parse).transpose().map_err(|error| refused(error.to_string()))?;
        self.asked.insert((place, platform.map(Platform::normalise), key.to_owned()), value.to_owned());
        Ok(true)
    }

    /// Returns these annotations and those of `later`, which go before.
    pub fn merged(mut self, later: Self) -> Self {
        self.asked.extend(later.asked);
        self
    }

    /// Checks that each platform named is one of the result's, and that there is an index for what stands on one.
    ///
    /// # Errors
    /// If an annotation could not be honoured.
    pub fn check(&self, platforms: &[&Platform], oci: bool, index: bool) -> Result<(), ExportError> {
        for (place, platform, key) in self.asked.keys() {
            let refused = |reason: &str| ExportError::Annotation { name: key.clone(), reason: reason.to_owned() };
            if let Some(platform) = platform
                && !platforms.iter().any(|known| known.same(platform))
            {
                return Err(refused(&format!("invalid annotation: no platform {platform} found in source")));
            }
            if !oci && *place != Place::Manifest {
                return Err(refused("cannot export annotations with \"oci-mediatypes=false\""));
            }
            if !index && matches!(place, Place::Index | Place::IndexDescriptor) {
                return Err(refused("index annotations not supported for single platform export"));
            }
        }
        Ok(())
    }

    /// Returns the annotations of a platform's manifest: those for all platforms, then its own.
    pub fn manifest(&self, platform: &Platform) -> Annotated {
        self.of(Place::Manifest, Some(platform))
    }

    /// Returns the annotations of the descriptor of a platform's manifest.
    pub fn manifest_descriptor(&self, platform: &Platform) -> Annotated {
        self.of(Place::ManifestDescriptor, Some(platform))
    }

    /// Returns the annotations of the index.
    pub fn index(&self) -> Annotated {
        self.of(Place::Index, None)
    }

    /// Returns the annotations of the descriptor of the index.
    pub fn index_descriptor(&self) -> Annotated {
        self.of(Place::IndexDescriptor, None)
    }

    /// What is said for one platform comes after what is said for all; an index has no platform.
    fn of(&self, wanted: Place, platform: Option<&Platform>) -> Annotated {
        let fits = |told: &Option<Platform>| match (told, platform) {
            (Some(told), Some(platform)) => told.same(platform),
            _ => true,
        };
        let asked = self.asked.iter().filter(|((place, told, _), _)| *place == wanted && fits(told));
        asked.map(|((_, _, key), value)| (key.clone(), value.clone())).collect()
    }
}

/// Splits `annotation[-kind][[platform]].key`.
fn split(name: &str) -> Option<(&str, Option<&str>, &str)> {
    let rest = name.strip_prefix("annotation")?;
    let end = rest.find(['[', '.'])?;
    let (kind, rest) = rest.split_at(end);
    let kind = match kind {
        "" => "",
        kind => kind.strip_prefix('-').filter(|kind| !kind.is_empty())?,
    };
    if !kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') {
        return None;
    }
    let (platform, rest) = match rest.strip_prefix('[') {
        None => (None, rest),
        Some(rest) => {
            let (platform, rest) = rest.split_once(']')?;
            (Some(platform), rest)
        }
    };
    let of_platform = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'/' | b'-');
    if platform.is_some_and(|platform| platform.is_empty() || !platform.bytes().all(of_platform)) {
        return None;
    }
    let key = rest.strip_prefix('.')?;
    (!key.is_empty() && !key.contains(char::is_whitespace)).then_some((kind, platform, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        for (name, want) in [
            ("annotation.a.b", Some(("", None, "a.b"))),
            ("annotation-manifest.k", Some(("manifest", None, "k"))),
            ("annotation-index-descriptor.k", Some(("index-descriptor", None, "k"))),
            ("annotation[linux/arm/v7].k", Some(("", Some("linux/arm/v7"), "k"))),
            ("annotation-manifest-descriptor[linux/amd64].k", Some(("manifest-descriptor", Some("linux/amd64"), "k"))),
            ("annotation", None),
            ("annotation.", None),
            ("annotation-.k", None),
            ("annotation[].k", None),
            ("annotation[a b].k", None),
            ("annotation[linux/amd64]k", None),
            ("annotations.k", None),
            ("annotation.a b", None),
        ] {
            assert_eq!(split(name), want, "{name}");
        }
    }

    #[test]
    fn places_and_platforms() {
        let mut asked = Annotations::default();
        for (name, value) in [
            ("annotation.k", "all"),
            ("annotation[linux/arm64/v8].k", "arm"),
            ("annotation-manifest-descriptor.d", "md"),
            ("annotation-index.i", "i"),
            ("annotation-index-descriptor.i", "id"),
        ] {
            assert!(asked.take(name, value).unwrap(), "{name}");
        }
        assert!(!asked.take("name", "x").unwrap());
        let (amd, arm) = (Platform::new("linux", "amd64", None), Platform::new("linux", "arm64", None));
        assert_eq!((&asked.manifest(&amd)["k"], &asked.manifest(&arm)["k"]), (&"all".to_owned(), &"arm".to_owned()));
        assert_eq!(asked.manifest_descriptor(&amd)["d"], "md");
        assert_eq!((&asked.index()["i"], &asked.index_descriptor()["i"]), (&"i".to_owned(), &"id".to_owned()));
        for (platforms, oci, index, said) in [
            (vec![&amd, &arm], true, true, None),
            (vec![&amd], true, true, Some("no platform linux/arm64")),
            (vec![&amd, &arm], false, true, Some("oci-mediatypes=false")),
            (vec![&amd, &arm], true, false, Some("single platform")),
        ] {
            let found = asked.check(&platforms, oci, index).err().map(|error| error.to_string());
            assert_eq!(found.is_some(), said.is_some(), "{found:?}");
            assert!(said.is_none_or(|said| found.unwrap().contains(said)), "{said:?}");
        }
        assert!(asked.take("annotation-nope.k", "").is_err() && asked.take("annotation[nope/x/y].k", "").is_ok());
        assert!(asked.take("annotation[no-such].k", "").is_err());
    }
}
