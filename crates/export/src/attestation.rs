//! What is attested about a result: in-toto statements from predicates, and the subjects they are about.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rbuild_images::Images;
use rbuild_oci::{Digest, Platform, Reference, json};
use rbuild_store::LayerId;
use rbuild_tree::FileTree;
use rbuild_tree::select::{Follow, resolve};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::ExportError;

/// The most bytes of an attestation.
const MAX_BYTES: u64 = 40 << 20;
/// The type of a statement.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// Predicates that only the builder itself may make.
const PROVENANCE: &str = "https://slsa.dev/provenance/";
/// Marks attestations that only images carry.
const INLINE_ONLY: &str = "inline-only";
/// Names the first of several SBOMs.
pub(crate) const SBOM_CORE: &str = "sbom-core";

/// What is attested about a part of a result.
#[derive(Debug, Clone)]
pub struct Attestation {
    /// What the content is.
    pub kind: Kind,
    /// What makers and exporters tell each other, such as `inline-only`.
    pub metadata: BTreeMap<String, Vec<u8>>,
    /// Where the content is.
    pub content: Content,
    /// The file's path: in the layers, and its name in a directory or tar.
    pub path: String,
    /// The predicate's type.
    pub predicate_type: String,
    /// Whom it is about; empty for the result itself.
    pub subjects: Vec<Subject>,
}

/// What an attestation's content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A predicate.
    InToto,
    /// A directory of statements.
    Bundle,
}

/// Where an attestation's content is.
#[derive(Debug, Clone)]
pub enum Content {
    /// Made by the builder.
    Made(Bytes),
    /// Made by the builder once the layers are as they leave.
    Late(Arc<dyn Late>),
    /// A file or directory of these layers, made by a frontend.
    Layers(Vec<LayerId>),
}

/// Makes a predicate that tells of the result as it leaves.
pub trait Late: std::fmt::Debug + Send + Sync {
    /// Returns the predicate.
    ///
    /// # Errors
    /// If what it tells of cannot be read.
    fn make(&self, images: &Images) -> Result<Bytes, ExportError>;
}

/// Whom an attestation is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The result, and perhaps by another name.
    Itself {
        /// The other name.
        name: Option<String>,
    },
    /// Something else.
    Other {
        /// Its name.
        name: Option<String>,
        /// Its digests in hexadecimal, by algorithm.
        digests: BTreeMap<String, String>,
    },
}

/// A subject of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedSubject {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its digests in hexadecimal, by algorithm.
    #[serde(default)]
    pub digest: BTreeMap<String, String>,
}

impl NamedSubject {
    /// Returns a subject known by its sha256.
    pub fn new(name: String, digest: &Digest) -> Self {
        Self { name, digest: BTreeMap::from([("sha256".to_owned(), digest.hex())]) }
    }
}

/// A statement about subjects.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Statement<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    pub(crate) predicate_type: &'a str,
    subject: Vec<NamedSubject>,
    predicate: Box<RawValue>,
}

/// A statement of a bundle.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundled {
    #[serde(default)]
    predicate_type: String,
    #[serde(default)]
    subject: Option<Vec<NamedSubject>>,
    predicate: Option<Box<RawValue>>,
}

impl Attestation {
    /// Returns whether only images carry this attestation, and only those that need no index for it.
    pub fn is_inline_only(&self) -> bool {
        self.metadata.get(INLINE_ONLY).is_some_and(|value| value == b"true")
    }

    fn refused(&self, reason: impl Into<String>) -> ExportError {
        ExportError::Attestation { path: self.path.clone(), reason: reason.into() }
    }

    /// Returns the predicate.
    pub(crate) fn read(&self, images: &Images) -> Result<Bytes, ExportError> {
        match &self.content {
            Content::Made(bytes) => Ok(bytes.clone()),
            Content::Late(late) => late.make(images),
            Content::Layers(layers) => self.file(&*tree(images, layers)?, Path::new(&self.path)),
        }
    }

    fn file(&self, tree: &dyn FileTree, path: &Path) -> Result<Bytes, ExportError> {
        let path = resolve(tree, path, Follow::All)?;
        let node = tree.node(&path)?.filter(|node| node.metadata.kind.is_file());
        let node = node.ok_or_else(|| self.refused(format!("`{}` is not a regular file", path.display())))?;
        let mut bytes = Vec::new();
        let read = tree.open(&node)?.take(MAX_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(ExportError::io("reading", &path))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(self.refused(format!("`{}` exceeds {MAX_BYTES} bytes", path.display())));
        }
        Ok(bytes.into())
    }

    /// Returns the statements of a bundle as attestations.
    fn unbundled(&self, images: &Images) -> Result<Vec<Self>, ExportError> {
        let Content::Layers(layers) = &self.content else {
            return Err(self.refused("no ref provided for attestation bundle"));
        };
        let tree = tree(images, layers)?;
        let folder = resolve(&*tree, Path::new(&self.path), Follow::All)?;
        let one = |node: rbuild_tree::Node| {
            let bytes = self.file(&*tree, &node.path)?;
            let statement: Bundled = serde_json::from_slice(&bytes)
                .map_err(|error| self.refused(format!("cannot decode in-toto statement: {error}")))?;
            self.of_statement(statement, &node.path)
        };
        tree.children(&folder)?.into_iter().map(one).collect()
    }

    fn of_statement(&self, statement: Bundled, path: &Path) -> Result<Self, ExportError> {
        if !self.predicate_type.is_empty() && statement.predicate_type != self.predicate_type {
            let reason = format!(
                "bundle entry {} does not match required predicate type {}",
                statement.predicate_type, self.predicate_type
            );
            return Err(self.refused(reason));
        }
        if statement.predicate_type.starts_with(PROVENANCE) {
            return Err(self.refused("frontend may not bundle provenance attestations"));
        }
        let named = |subject: NamedSubject| Subject::Other { name: Some(subject.name), digests: subject.digest };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            kind: Kind::InToto,
            metadata: self.metadata.clone(),
            content: Content::Made(statement.predicate.map_or_else(Bytes::new, |text| text.get().to_owned().into())),
            path: format!("{}/{name}", self.path.trim_end_matches('/')),
            predicate_type: statement.predicate_type,
            subjects: statement.subject.unwrap_or_default().into_iter().map(named).collect(),
        })
    }

    /// Makes a statement of the predicate; `itself` is the result by its names.
    pub(crate) fn statement(&self, images: &Images, itself: &[NamedSubject]) -> Result<Statement<'_>, ExportError> {
        let bytes = self.read(images)?;
        let text = if bytes.is_empty() { "null" } else { std::str::from_utf8(&bytes).unwrap_or_default() };
        let predicate = serde_json::from_str::<&RawValue>(text);
        let predicate = predicate.map_err(|error| self.refused(format!("the predicate is not JSON: {error}")))?;
        let about_itself = [Subject::Itself { name: None }];
        let subjects = if self.subjects.is_empty() { &about_itself[..] } else { &self.subjects[..] };
        Ok(Statement {
            kind: STATEMENT,
            predicate_type: &self.predicate_type,
            subject: subjects.iter().flat_map(|subject| subject.named(itself)).collect(),
            predicate: crate::config::compacted(predicate),
        })
    }
}

impl Subject {
    fn named(&self, itself: &[NamedSubject]) -> Vec<NamedSubject> {
        let given = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        match self {
            Self::Other { name, digests } => {
                let name = given(name).unwrap_or_else(|| "_".to_owned());
                vec![NamedSubject { name, digest: digests.clone() }]
            }
            Self::Itself { name } => {
                let other = given(name).filter(|name| name != "_");
                let both = |subject: &NamedSubject| {
                    let also = other.clone().map(|name| NamedSubject { name, digest: subject.digest.clone() });
                    std::iter::once(subject.clone()).chain(also)
                };
                itself.iter().flat_map(both).collect()
            }
        }
    }
}

impl Statement<'_> {
    /// Returns the bytes of an image's blob.
    pub(crate) fn compact(&self) -> Vec<u8> {
        json::to_vec(self)
    }

    /// Returns the bytes of a file for people.
    pub(crate) fn indented(&self) -> Vec<u8> {
        let value: serde_json::Value = serde_json::from_slice(&self.compact()).expect("what was written is JSON");
        json::to_vec_indented(&value)
    }
}

/// Returns attestations one by one, the main SBOM first.
pub(crate) fn unbundle(images: &Images, given: &[Attestation]) -> Result<Vec<Attestation>, ExportError> {
    let mut all = Vec::with_capacity(given.len());
    for attestation in given {
        match attestation.kind {
            Kind::Bundle => all.extend(attestation.unbundled(images)?),
            Kind::InToto if attestation.path.is_empty() => {
                return Err(attestation.refused("attestation does not have set path"));
            }
            Kind::InToto => {
                let made = !matches!(attestation.content, Content::Layers(_));
                if attestation.predicate_type.starts_with(PROVENANCE) && !made {
                    return Err(attestation.refused("frontend may not set provenance attestations"));
                }
                all.push(attestation.clone());
            }
        }
    }
    let is_core = |attestation: &Attestation| {
        let name = attestation.path.split('.').next().unwrap_or_default();
        attestation.metadata.get(SBOM_CORE).is_some_and(|core| core == name.as_bytes())
    };
    all.sort_by_key(|attestation| !is_core(attestation));
    Ok(all)
}

/// Returns an image's name as a package URL.
pub(crate) fn package_url(name: &Reference, platform: &Platform) -> String {
    package_url_of("docker", name, Some(platform))
}

/// Returns the name of an image of a kind as a package URL.
pub(crate) fn package_url_of(kind: &str, name: &Reference, platform: Option<&Platform>) -> String {
    let familiar = name.familiar_name();
    let version = name.tag.as_ref().map(|tag| format!("@{}", encoded(tag))).unwrap_or_default();
    // Only in a segment of the path a colon would be taken for something else.
    let segment = |segment: &str| encoded(segment).replace(':', "%3A");
    let path = familiar.split('/').map(segment).collect::<Vec<_>>().join("/");
    let digest = name.digest.map(|digest| format!("digest={}", encoded(&digest.to_string())));
    let platform = platform.map(|platform| format!("platform={}", encoded(&platform.to_string())));
    let qualifiers = digest.into_iter().chain(platform).collect::<Vec<_>>().join("&");
    let mark = if qualifiers.is_empty() { "" } else { "?" };
    format!("pkg:{kind}/{path}{version}{mark}{qualifiers}")
}

/// Percent-encodes what a package URL cannot hold; colons stay.
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:".contains(&b);
    let one = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(one).collect()
}

/// Returns a view of layers that nobody watches.
pub(crate) fn tree(images: &Images, layers: &[LayerId]) -> Result<Box<dyn FileTree>, ExportError> {
    let silent: Arc<dyn rbuild_events::Reporter> = Arc::new(rbuild_events::Silent);
    Ok(Box::new(images.view(layers, &silent, Digest::of(b""))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_urls() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (name, platform, want) in [
            ("alpine", "linux/amd64", "pkg:docker/alpine@latest?platform=linux%2Famd64"),
            ("x/y:1", "linux/arm/v7", "pkg:docker/x/y@1?platform=linux%2Farm%2Fv7"),
            ("localhost:5000/a/b:t", "linux/amd64", "pkg:docker/localhost%3A5000/a/b@t?platform=linux%2Famd64"),
            (
                &format!("alpine@{digest}"),
                "linux/amd64",
                &format!("pkg:docker/alpine?digest={digest}&platform=linux%2Famd64"),
            ),
        ] {
            let found = package_url(&name.parse().unwrap(), &Platform::parse(platform).unwrap());
            assert_eq!(found, want, "{name}");
        }
    }

    #[test]
    fn subjects() {
        let itself = [NamedSubject::new("pkg".to_owned(), &Digest::of(b"x"))];
        for (subject, names) in [
            (Subject::Itself { name: None }, vec!["pkg"]),
            (Subject::Itself { name: Some("own".to_owned()) }, vec!["pkg", "own"]),
            (Subject::Other { name: None, digests: BTreeMap::new() }, vec!["_"]),
            (Subject::Other { name: Some("o".to_owned()), digests: BTreeMap::new() }, vec!["o"]),
        ] {
            let found = subject.named(&itself);
            assert_eq!(found.iter().map(|subject| subject.name.as_str()).collect::<Vec<_>>(), names, "{subject:?}");
        }
    }
}
