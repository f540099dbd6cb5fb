//! Image references, normalised as docker does.
//!
//! `alpine` is short for `docker.io/library/alpine:latest`. The first component is a registry only if
//! it could not be part of a Docker Hub name: it holds a dot or a colon, is `localhost`, or has capitals.
//! Short names mean Docker Hub and nothing else; no list of registries is searched.

use std::fmt;
use std::str::FromStr;

use crate::{Digest, DigestError};

const DEFAULT_REGISTRY: &str = "docker.io";
const OLD_DEFAULT_REGISTRY: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
const LATEST: &str = "latest";
const MAX_REPOSITORY: usize = 255;
const MAX_TAG: usize = 128;

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing was given.
    #[error("invalid reference: the name is empty")]
    Empty,
    /// The text is an image id, which names no repository.
    #[error("invalid reference `{0}`: a 64-digit hexadecimal id is not a name")]
    Id(String),
    /// The repository has capitals.
    #[error("invalid reference `{text}`: repository name must be lower case; did you mean `{hint}`?")]
    Capitals {
        /// The text given.
        text: String,
        /// The same in lower case.
        hint: String,
    },
    /// The text has a URL's scheme.
    #[error("invalid reference `{text}`: a reference has no scheme; did you mean `{hint}`?")]
    Scheme {
        /// The text given.
        text: String,
        /// The same without the scheme.
        hint: String,
    },
    /// The registry is not a host with an optional port.
    #[error("invalid reference `{text}`: `{registry}` is not a registry host with an optional port")]
    Registry {
        /// The text given.
        text: String,
        /// The part that was taken for the registry.
        registry: String,
    },
    /// A component of the repository is malformed.
    #[error(
        "invalid reference `{text}`: `{component}` is not a repository name (lower-case letters and digits, \
         separated by `.`, `_`, `__` or dashes)"
    )]
    Component {
        /// The text given.
        text: String,
        /// The malformed component.
        component: String,
    },
    /// The repository is too long.
    #[error("invalid reference `{0}…`: the repository name is longer than {MAX_REPOSITORY} characters")]
    TooLong(String),
    /// The tag is malformed.
    #[error(
        "invalid reference `{text}`: `{tag}` is not a tag (letters, digits, `_`, `.`, `-`; not starting with `.` or \
         `-`; at most {MAX_TAG} characters)"
    )]
    Tag {
        /// The text given.
        text: String,
        /// The malformed tag.
        tag: String,
    },
    /// The digest is malformed.
    #[error("invalid reference `{text}`")]
    Digest {
        /// The text given.
        text: String,
        /// What is wrong with the digest.
        #[source]
        source: DigestError,
    },
}

/// A normalised image reference: registry, repository, and a tag, a digest or both.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Host and port of the registry, such as `docker.io` or `localhost:5000`.
    pub registry: String,
    /// The repository, such as `library/alpine`.
    pub repository: String,
    /// The tag, if one was given or is implied.
    pub tag: Option<String>,
    /// The digest, if one was given.
    pub digest: Option<Digest>,
}

impl Reference {
    /// Reads a reference as a person writes it; a missing tag means `latest`.
    ///
    /// # Errors
    /// Says what part of `text` is malformed.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let mut reference = Self::parse_untagged(text)?;
        if reference.tag.is_none() && reference.digest.is_none() {
            reference.tag = Some(LATEST.to_owned());
        }
        Ok(reference)
    }

    /// Reads a reference without implying a tag.
    ///
    /// # Errors
    /// Says what part of `text` is malformed.
    pub fn parse_untagged(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        let shown = || text.chars().take(300).collect::<String>();
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ReferenceError::Id(shown()));
        }
        if let Some((_, hint)) = text.split_once("://") {
            return Err(ReferenceError::Scheme { text: shown(), hint: hint.chars().take(300).collect() });
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        let (registry, rest) = split_registry(name);
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest.as_str(), None),
        };
        check_registry(registry)
            .map_err(|()| ReferenceError::Registry { text: shown(), registry: registry.to_owned() })?;
        check_repository(repository, &shown)?;
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag { text: shown(), tag: tag.chars().take(300).collect() });
        }
        let digest =
            digest.map(str::parse).transpose().map_err(|source| ReferenceError::Digest { text: shown(), source })?;
        Ok(Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// Returns the registry and repository, such as `docker.io/library/alpine`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Returns the registry and repository as docker shows them, such as `alpine`.
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return self.name();
        }
        let short = match self.repository.strip_prefix(OFFICIAL) {
            Some(official) if !official.contains('/') => official,
            _ => self.repository.as_str(),
        };
        // A name that would be read differently without its registry keeps it.
        if split_registry(short) == (DEFAULT_REGISTRY, self.repository.clone()) {
            short.to_owned()
        } else {
            self.name()
        }
    }

    /// Returns the reference as docker shows it, such as `alpine:3.20`.
    pub fn familiar(&self) -> String {
        self.with_suffixes(self.familiar_name())
    }

    /// Returns the same repository with another tag and no digest.
    ///
    /// # Errors
    /// If `tag` is not a tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Tag { text: self.familiar(), tag: tag.to_owned() });
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// Returns the same reference with a digest.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    fn with_suffixes(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(&digest.to_string());
        }
        name
    }
}

/// The full form, such as `docker.io/library/alpine:latest`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffixes(self.name()))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

/// Splits off the registry and completes the name of an official image.
fn split_registry(name: &str) -> (&str, String) {
    let (registry, rest) = match name.split_once('/') {
        Some(("localhost", rest)) => ("localhost", rest),
        Some((OLD_DEFAULT_REGISTRY, rest)) => (DEFAULT_REGISTRY, rest),
        Some((first, rest)) if first.contains(['.', ':']) || first.to_lowercase() != first => (first, rest),
        _ => (DEFAULT_REGISTRY, name),
    };
    if registry == DEFAULT_REGISTRY && !rest.contains('/') {
        (registry, format!("{OFFICIAL}{rest}"))
    } else {
        (registry, rest.to_owned())
    }
}

fn check_registry(registry: &str) -> Result<(), ()> {
    let (host, port) = if registry.starts_with('[') {
        let end = registry.find(']').ok_or(())?;
        let address = &registry[1..end];
        if address.is_empty() || !address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') {
            return Err(());
        }
        match &registry[end + 1..] {
            "" => return Ok(()),
            rest => ("", rest.strip_prefix(':').ok_or(())?),
        }
    } else {
        match registry.split_once(':') {
            Some((host, port)) => (host, port),
            None => (registry, "0"),
        }
    };
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(());
    }
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if registry.starts_with('[') || host.split('.').all(label) { Ok(()) } else { Err(()) }
}

fn check_repository(repository: &str, shown: &dyn Fn() -> String) -> Result<(), ReferenceError> {
    if repository.chars().any(char::is_uppercase) {
        let text = shown();
        let hint = text.replacen(
            repository.trim_start_matches(OFFICIAL),
            &repository.trim_start_matches(OFFICIAL).to_lowercase(),
            1,
        );
        return Err(ReferenceError::Capitals { text, hint });
    }
    if repository.len() > MAX_REPOSITORY {
        return Err(ReferenceError::TooLong(shown().chars().take(60).collect()));
    }
    match repository.split('/').find(|component| !is_component(component)) {
        Some(component) => Err(ReferenceError::Component { text: shown(), component: component.to_owned() }),
        None => Ok(()),
    }
}

/// Letters and digits, separated by one dot, one or two underscores, or any number of dashes.
fn is_component(component: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    word(*first)
        && word(*last)
        && bytes
            .split(|b| word(*b))
            .all(|separator| matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
