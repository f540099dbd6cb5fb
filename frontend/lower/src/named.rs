//! Named contexts (X011): things outside that the build gives a name, before any image of that name.

use rbuild_oci::{Digest, Platform, Reference};

use crate::git::{self, GitRef};
use crate::request::Request;
use crate::text::platform_with_version;

/// A named context of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedContext {
    /// The name it was asked for by.
    pub(crate) name: String,
    /// The name it was found under, which may tell a platform.
    pub(crate) shown: String,
    /// What it is, as the build says it.
    pub(crate) input: String,
}

/// What a named context is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Scratch,
    Image(Reference),
    Layout { store: String, digest: Digest },
    Git(Box<GitRef>),
    Http(String),
    Local(String),
    Input(String),
}

/// Finds the named context for `name`, the one for the platform first.
pub(crate) fn find(name: &str, platform: Option<&Platform>, request: &Request) -> Result<Option<NamedContext>, String> {
    if request.contexts.is_empty() || name.eq_ignore_ascii_case("scratch") || name.eq_ignore_ascii_case("context") {
        return Ok(None);
    }
    let reference = Reference::parse_untagged(name).map_err(|error| format!("invalid context name {name}: {error}"))?;
    let familiar = reference.familiar();
    let name = familiar.strip_suffix(":latest").unwrap_or(&familiar);
    let platform = platform.or(request.platform.as_ref()).unwrap_or(&request.build_platform);
    let exact = format!("{name}::{}", platform_with_version(&platform.clone().normalise()));
    let found = [exact.as_str(), name].into_iter().find_map(|key| request.contexts.get_key_value(key));
    Ok(found.map(|(key, input)| NamedContext { name: name.to_owned(), shown: key.clone(), input: input.clone() }))
}

impl NamedContext {
    /// Returns what follows the scheme, as it was written.
    pub(crate) fn written(&self) -> &str {
        let rest = self.input.split_once(':').map_or(self.input.as_str(), |(_, rest)| rest);
        rest.strip_prefix("//").unwrap_or(rest)
    }

    /// Returns the stage of the Dockerfile that the context is.
    pub(crate) fn stage(&self) -> Option<&str> {
        self.input.strip_prefix("target:")
    }

    /// Reads what the context is.
    pub(crate) fn kind(&self) -> Result<Kind, String> {
        let invalid = || format!("invalid context specifier {} for {}", self.input, self.shown);
        let (scheme, rest) = self.input.split_once(':').ok_or_else(invalid)?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        match scheme {
            "docker-image" if rest == "scratch" => Ok(Kind::Scratch),
            "docker-image" => {
                Reference::parse(rest).map(Kind::Image).map_err(|error| format!("{}: {error}", invalid()))
            }
            "oci-layout" => {
                let (store, digest) =
                    rest.rsplit_once('@').ok_or_else(|| format!("oci-layout reference {rest:?} has no digest"))?;
                let store =
                    store.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(store, |(name, _)| name);
                let digest = digest
                    .parse()
                    .map_err(|error| format!("could not parse oci-layout reference {rest:?}: {error}"))?;
                Ok(Kind::Layout { store: store.to_owned(), digest })
            }
            "local" => Ok(Kind::Local(rest.to_owned())),
            "input" => Ok(Kind::Input(rest.to_owned())),
            scheme => match git::parse(&self.input)? {
                Some(git) => Ok(Kind::Git(Box::new(git))),
                None if matches!(scheme, "http" | "https") => Ok(Kind::Http(self.input.clone())),
                None if scheme == "git" => Err(format!("invalid git context {}", self.input)),
                None => Err(format!("unsupported context source {scheme} for {}", self.shown)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(contexts: &[(&str, &str)]) -> Request {
        let contexts = contexts.iter().map(|(name, input)| ((*name).to_owned(), (*input).to_owned())).collect();
        Request { contexts, build_platform: Platform::new("linux", "amd64", None), ..Request::default() }
    }

    // items: X011
    #[test]
    fn x011_names() {
        let request = request(&[
            ("alpine", "local:a"),
            ("alpine::linux/arm64", "local:b"),
            ("scratch", "local:c"),
            ("busybox:1", "local:d"),
        ]);
        let arm = Platform::new("linux", "arm64", None);
        let found = |name: &str, platform| find(name, platform, &request).unwrap().map(|context| context.input);
        assert_eq!(found("docker.io/library/alpine:latest", None).as_deref(), Some("local:a"));
        assert_eq!(found("alpine", Some(&arm)).as_deref(), Some("local:b"));
        assert_eq!(found("busybox:1", None).as_deref(), Some("local:d"));
        assert_eq!(found("busybox", None), None);
        assert_eq!(found("scratch", None), None);
        assert!(find("UP CASE", None, &request).unwrap_err().starts_with("invalid context name UP CASE"));
    }

    // items: X011
    #[test]
    fn x011_kinds() {
        let kind =
            |input: &str| NamedContext { name: "n".to_owned(), shown: "n".to_owned(), input: input.to_owned() }.kind();
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(kind("docker-image://scratch"), Ok(Kind::Scratch));
        assert_eq!(kind("docker-image://alpine"), Ok(Kind::Image(Reference::parse("alpine").unwrap())));
        assert!(
            matches!(kind(&format!("oci-layout://store@{digest}")), Ok(Kind::Layout { store, .. }) if store == "store")
        );
        assert!(matches!(kind("https://x/y.git#v1"), Ok(Kind::Git(git)) if git.reference == "v1"));
        assert!(matches!(kind("git@github.com:a/b.git"), Ok(Kind::Git(_))));
        assert_eq!(kind("https://x/y.tar"), Ok(Kind::Http("https://x/y.tar".to_owned())));
        assert_eq!(kind("local:dir"), Ok(Kind::Local("dir".to_owned())));
        assert_eq!(kind("input:0-a"), Ok(Kind::Input("0-a".to_owned())));
        assert!(
            matches!(kind(&format!("oci-layout://h:1/s:tag@{digest}")), Ok(Kind::Layout { store, .. }) if store == "h:1/s")
        );
        for (input, expect) in [
            ("nothing", "invalid context specifier nothing for n"),
            ("ftp://x", "unsupported context source ftp for n"),
            ("oci-layout://x", "has no digest"),
        ] {
            assert!(kind(input).unwrap_err().contains(expect), "{input}");
        }
    }
}
