//! What `--cache-from` and `--cache-to` (or a client's fields of the same meaning) ask for, read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rbuild_oci::{Digest, Reference};
use rbuild_tree::compress::Compression;

use crate::attributes::Attributes;

/// A cache as it was given: a type, and attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSpec {
    /// `registry`, `local` or `inline`.
    pub kind: String,
    /// The other attributes.
    pub attributes: BTreeMap<String, String>,
}

/// Why a cache cannot be asked for like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SpecError(pub(crate) String);

/// Where a cache is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a repository.
    Registry {
        /// The name, with a tag or digest.
        reference: Reference,
        /// Whether plain HTTP and unknown certificates will do.
        insecure: bool,
    },
    /// In a directory of the client.
    Local {
        /// The directory.
        directory: PathBuf,
        /// The name within.
        tag: String,
        /// The manifest, if it is known beforehand.
        digest: Option<Digest>,
    },
}

/// A cache to be looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportSpec {
    /// Where it is.
    pub place: Place,
}

/// A cache to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportSpec {
    /// Where it goes; none is into the image.
    pub place: Option<Place>,
    /// Whether results of all steps are written, or only those that the result is made of.
    pub all_results: bool,
    /// Whether a failure is but a warning.
    pub ignore_error: bool,
    /// How layers are compressed that are made for it.
    pub compression: Compression,
    /// Whether layers that are there, compressed another way, are compressed anew.
    pub force_compression: bool,
    /// Whether media types are OCI's or Docker's.
    pub oci_media_types: bool,
    /// Whether the documents' root is an image manifest or an index.
    pub image_manifest: bool,
    /// Whether what the directory has beside this cache is removed.
    pub reset: bool,
}

/// Types that are refused by name, so that nobody takes them for typing errors.
const LATER: &[&str] = &["s3", "gha", "azblob"];

impl CacheSpec {
    /// Returns the cache that a name alone means.
    pub fn registry(reference: &str) -> Self {
        let attributes = [("ref".to_owned(), reference.to_owned())].into();
        Self { kind: "registry".to_owned(), attributes }
    }

    fn unknown(&self, what: &str, kinds: &str) -> SpecError {
        let kind = self.kind.escape_debug();
        match LATER.contains(&self.kind.as_str()) {
            true => SpecError(format!("{what} type={kind} is not supported yet: {kinds}")),
            false => SpecError(format!("unknown {what} type `{kind}`: {kinds}")),
        }
    }
}

impl ImportSpec {
    /// Reads a cache to be looked into.
    ///
    /// # Errors
    /// If the type or an attribute is unknown, missing or malformed.
    pub fn parse(spec: &CacheSpec) -> Result<Self, SpecError> {
        let mut attributes = Attributes::new("cache import", spec);
        let place = match spec.kind.as_str() {
            "registry" => registry(&mut attributes)?,
            "local" => local(&mut attributes, "src")?,
            "inline" => {
                let reason = "a cache inside of an image is imported with type=registry and the name of the image";
                return Err(SpecError(format!("cache import type=inline: {reason}")));
            }
            _ => return Err(spec.unknown("cache import", "registry or local")),
        };
        attributes.finish()?;
        Ok(Self { place })
    }
}

impl ExportSpec {
    /// Reads a cache to be written.
    ///
    /// # Errors
    /// If the type or an attribute is unknown, missing or malformed.
    pub fn parse(spec: &CacheSpec) -> Result<Self, SpecError> {
        let mut attributes = Attributes::new("cache export", spec);
        let place = match spec.kind.as_str() {
            "registry" => Some(registry(&mut attributes)?),
            "local" => Some(local(&mut attributes, "dest")?),
            "inline" => None,
            _ => return Err(spec.unknown("cache export", "inline, registry or local")),
        };
        let all_results = match attributes.take("mode").as_deref() {
            None | Some("min") => false,
            // An image holds no layers but its own.
            Some("max") => place.is_some(),
            Some(other) => return Err(attributes.invalid("mode", other, "expected min or max")),
        };
        let oci_media_types = attributes.flag("oci-mediatypes")?.unwrap_or(true);
        let image_manifest = attributes.flag("image-manifest")?;
        if image_manifest == Some(true) && !oci_media_types {
            return Err(attributes.invalid("image-manifest", "true", "it needs oci-mediatypes=true"));
        }
        let reset = matches!(place, Some(Place::Local { .. })) && attributes.flag("reset")?.unwrap_or(false);
        let export = Self {
            place,
            all_results,
            ignore_error: attributes.flag("ignore-error")?.unwrap_or(false),
            compression: attributes.compression()?,
            force_compression: attributes.flag("force-compression")?.unwrap_or(false),
            oci_media_types,
            image_manifest: image_manifest.unwrap_or(oci_media_types),
            reset,
        };
        attributes.finish()?;
        Ok(export)
    }

    /// Whether the cache goes into the image.
    pub fn is_inline(&self) -> bool {
        self.place.is_none()
    }
}

fn registry(attributes: &mut Attributes<'_>) -> Result<Place, SpecError> {
    let name = attributes.required("ref", "user/app:cache")?;
    let reference = Reference::parse(&name).map_err(|error| attributes.invalid("ref", &name, &error.to_string()))?;
    Ok(Place::Registry { reference, insecure: attributes.flag("registry.insecure")?.unwrap_or(false) })
}

fn local(attributes: &mut Attributes<'_>, name: &'static str) -> Result<Place, SpecError> {
    let directory = attributes.required(name, "/var/cache/builds")?.into();
    let tag = attributes.take("tag").filter(|tag| !tag.is_empty()).unwrap_or_else(|| "latest".to_owned());
    let digest = match name {
        "src" => attributes.take("digest").filter(|text| !text.is_empty()),
        _ => None,
    };
    let parse = |text: String| text.parse().map_err(|_| attributes.invalid("digest", &text, "it is no sha256 digest"));
    let digest = digest.map(parse).transpose()?;
    Ok(Place::Local { directory, tag, digest })
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Registry { reference, .. } => reference.fmt(f),
            Self::Local { digest: Some(digest), .. } => write!(f, "local:{digest}"),
            Self::Local { directory, .. } => write!(f, "{}", directory.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> CacheSpec {
        let fields = text.split(',').map(|field| field.split_once('=').unwrap_or((field, "")));
        let mut attributes: BTreeMap<_, _> = fields.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        CacheSpec { kind: attributes.remove("type").unwrap_or_default(), attributes }
    }

    #[test]
    fn good_exports() {
        let parse = |text: &str| ExportSpec::parse(&spec(text)).unwrap();
        let plain = parse("type=registry,ref=example.com/app:cache");
        let defaults = (plain.all_results, plain.ignore_error, plain.oci_media_types, plain.image_manifest);
        assert_eq!(defaults, (false, false, true, true));
        assert_eq!(plain.compression, Compression::Gzip(6));
        assert_eq!(plain.place.unwrap().to_string(), "example.com/app:cache");
        let full = parse(
            "type=registry,ref=app,mode=max,compression=zstd,compression-level=9,force-compression=true,\
             image-manifest=false,ignore-error=true,registry.insecure=true",
        );
        assert!(full.all_results && full.ignore_error && full.force_compression && !full.image_manifest);
        assert_eq!(full.compression, Compression::Zstd(9));
        assert!(!parse("type=registry,ref=app,oci-mediatypes=false").image_manifest);
        assert!(parse("type=inline").is_inline());
        assert!(!parse("type=inline,mode=max").all_results);
        let local = parse("type=local,dest=/x,tag=main").place.unwrap();
        assert_eq!(local, Place::Local { directory: "/x".into(), tag: "main".into(), digest: None });
    }

    #[test]
    fn bad_specs_say_why() {
        for (text, expected) in [
            ("type=s3,bucket=x", "cache export type=s3 is not supported yet: inline, registry or local"),
            ("type=gha", "cache export type=gha is not supported yet"),
            ("type=azblob", "cache export type=azblob is not supported yet"),
            ("type=regsitry", "unknown cache export type `regsitry`"),
            ("type=registry", "cache export type=registry needs `ref`, such as `type=registry,ref=user/app:cache`"),
            ("type=registry,ref=a/UPPER", "`ref=a/UPPER`"),
            ("type=registry,ref=a,mode=most", "`mode=most`: expected min or max"),
            ("type=registry,ref=a,compresion=zstd", "did you mean `compression`?"),
            ("type=registry,ref=a,wholly-other=1", "unknown attribute: one of compression,"),
            ("type=registry,ref=a,compression=lz4", "unknown: gzip, zstd or uncompressed"),
            ("type=registry,ref=a,compression-level=10", "expected a number from 0 to 9"),
            ("type=registry,ref=a,ignore-error=maybe", "expected true or false"),
            ("type=registry,ref=a,image-manifest=true,oci-mediatypes=false", "it needs oci-mediatypes=true"),
            ("type=local", "needs `dest`"),
            ("type=local,dest=x,src=y", "unknown attribute"),
            ("type=inline,ref=a", "unknown attribute"),
        ] {
            let error = ExportSpec::parse(&spec(text)).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        for (text, expected) in [
            ("type=inline", "is imported with type=registry"),
            ("type=local", "needs `src`"),
            ("type=local,src=x,digest=abc", "it is no sha256 digest"),
            ("type=registry,ref=a,mode=max", "unknown attribute"),
            ("type=s3", "not supported yet"),
        ] {
            let error = ImportSpec::parse(&spec(text)).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
