//! What a build took from outside.

use std::collections::BTreeMap;

use rbuild_oci::{Digest, Platform, Reference};
use serde::Serialize;

use super::materials::{ConfigSource, config_source};

/// What the frontend is told that says more of the host than of the build.
const OF_HOST: [&str; 4] = ["cgroup-parent", "image-resolve-mode", "platform", "cache-imports"];

/// What one result of a build was made of, and how its client asked for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capture {
    /// What the client asked for.
    pub request: Parameters,
    /// Where things came from.
    pub sources: Sources,
    /// Whether a step had a way out to the network.
    pub network_access: bool,
    /// Whether something came in that no source tells of.
    pub incomplete: bool,
}

/// What a client asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Parameters {
    /// The frontend; empty for a graph of the client's own.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub frontend: String,
    /// What the frontend was told.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, String>,
    /// Secrets that steps were given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    /// Agents that steps were given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<Secret>,
    /// Directories of the client.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub locals: Vec<Local>,
    /// How the frontend's inputs were asked for, if builds of this daemon made them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, RequestProvenance>,
    /// What the client itself asked for, if a frontend of its own asked for this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Box<RequestProvenance>>,
    /// The version of BuildKit whose behaviour was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compatibility_version: Option<u32>,
}

/// What was asked for, and where its instructions came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestProvenance {
    /// Where the instructions came from.
    pub config_source: ConfigSource,
    /// What was asked for besides.
    pub request: Parameters,
}

impl RequestProvenance {
    /// Tells the place of the instructions apart from what else a frontend was told.
    pub fn new(frontend: &str, args: &BTreeMap<String, String>, sources: &Sources) -> Self {
        let mut args = args.clone();
        let config_source = config_source(&mut args, sources);
        let request = Parameters { frontend: frontend.to_owned(), args, ..Parameters::default() };
        Self { config_source, request }
    }
}

impl Parameters {
    /// Returns what a frontend was told, without what says more of the host than of the build.
    pub fn filtered(told: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let context = told.get("contextkey").map_or("context", String::as_str);
        let is_told = |key: &str| !OF_HOST.contains(&key) && !key.starts_with("attest:");
        let value = |key: &str, value: &String| match key == context || key.starts_with("context:") {
            true => redacted(value),
            false => value.clone(),
        };
        let args = told.iter().filter(|(key, _)| is_told(key));
        args.map(|(key, text)| (key.clone(), value(key, text))).collect()
    }

    /// Removes what is not told in the least that is told; returns whether something was left out that matters.
    pub(super) fn scrub(&mut self) -> bool {
        let named = |key: &str| key.starts_with("build-arg:") || key.starts_with("label:");
        let mut incomplete = self.args.keys().any(|key| named(key));
        self.args.retain(|key, _| !named(key));
        self.secrets.clear();
        self.ssh.clear();
        for request in self.inputs.values_mut().chain(self.root.as_deref_mut()) {
            incomplete |= request.request.scrub();
        }
        incomplete
    }
}

/// A secret or an ssh agent by its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Secret {
    /// The id.
    pub id: String,
    /// Whether the build would have done without.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// A directory of the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Local {
    /// Its name in the session.
    pub name: String,
}

/// Where things came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Images.
    pub images: Vec<ImageSource>,
    /// Single blobs of repositories.
    pub blobs: Vec<BlobSource>,
    /// Git repositories.
    pub git: Vec<GitSource>,
    /// Files behind http.
    pub http: Vec<HttpSource>,
    /// Directories of the client by their names in the session.
    pub local: Vec<String>,
}

/// An image that was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSource {
    /// The name as it was asked for.
    pub reference: Reference,
    /// The platform.
    pub platform: Option<Platform>,
    /// What it was.
    pub digest: Option<Digest>,
    /// Whether it came from an OCI layout of the client.
    pub local: bool,
}

/// A blob that was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobSource {
    /// The repository with the digest of the blob.
    pub reference: Reference,
    /// Whether it came from an OCI layout of the client.
    pub local: bool,
}

/// A repository that was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// The address with the reference as its fragment.
    pub url: String,
    /// The commit.
    pub commit: String,
}

/// A file that was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSource {
    /// The address.
    pub url: String,
    /// What it was.
    pub digest: Digest,
}

impl Capture {
    /// Returns whether all that came in is told with its digest.
    pub fn is_complete(&self) -> bool {
        !self.incomplete && self.sources.local.is_empty()
    }

    /// Adds what another part of the build used; the same thing counts once.
    pub fn merge(&mut self, other: Self) {
        other.sources.images.into_iter().for_each(|image| self.add_image(image));
        other.sources.blobs.into_iter().for_each(|blob| self.add_blob(blob));
        other.sources.git.into_iter().for_each(|git| self.add_git(git));
        other.sources.http.into_iter().for_each(|http| self.add_http(http));
        other.sources.local.into_iter().for_each(|local| self.add_local(local));
        other.request.secrets.into_iter().for_each(|secret| self.add_secret(secret));
        other.request.ssh.into_iter().for_each(|ssh| self.add_ssh(ssh));
        self.network_access |= other.network_access;
        self.incomplete |= other.incomplete;
    }

    /// Adds an image.
    pub fn add_image(&mut self, image: ImageSource) {
        let same = |known: &&ImageSource| {
            known.reference == image.reference && known.local == image.local && known.platform == image.platform
        };
        if self.sources.images.iter().find(same).is_none() {
            self.sources.images.push(image);
        }
    }

    /// Adds a single blob.
    pub fn add_blob(&mut self, blob: BlobSource) {
        if !self.sources.blobs.contains(&blob) {
            self.sources.blobs.push(blob);
        }
    }

    /// Adds a repository, its address without credentials.
    pub fn add_git(&mut self, git: GitSource) {
        let git = GitSource { url: redacted(&git.url), ..git };
        if !self.sources.git.iter().any(|known| known.url == git.url) {
            self.sources.git.push(git);
        }
    }

    /// Adds a file, its address without credentials.
    pub fn add_http(&mut self, http: HttpSource) {
        let http = HttpSource { url: redacted(&http.url), ..http };
        if !self.sources.http.iter().any(|known| known.url == http.url) {
            self.sources.http.push(http);
        }
    }

    /// Adds a directory of the client.
    pub fn add_local(&mut self, name: String) {
        if !self.sources.local.contains(&name) {
            self.sources.local.push(name);
        }
    }

    /// Adds a secret; what one step cannot do without is not optional.
    pub fn add_secret(&mut self, secret: Secret) {
        add(&mut self.request.secrets, secret);
    }

    /// Adds an ssh agent.
    pub fn add_ssh(&mut self, ssh: Secret) {
        let id = if ssh.id.is_empty() { "default".to_owned() } else { ssh.id };
        add(&mut self.request.ssh, Secret { id, ..ssh });
    }

    /// Puts everything in order, and drops images by digest that are there by tag.
    pub fn sort(&mut self) {
        let named = |image: &ImageSource| {
            let reference = &image.reference;
            (reference.name(), reference.tag.clone().unwrap_or_else(|| "latest".to_owned()))
        };
        let images = &mut self.sources.images;
        let tagged: Vec<_> = images.iter().filter(|image| image.reference.digest.is_none()).map(named).collect();
        images.retain(|image| image.reference.digest.is_none() || !tagged.contains(&named(image)));
        images.sort_by_key(|image| (image.reference.to_string(), image.platform.clone()));
        self.sources.blobs.sort_by_key(|blob| blob.reference.to_string());
        self.sources.git.sort_by(|a, b| a.url.cmp(&b.url));
        self.sources.http.sort_by(|a, b| a.url.cmp(&b.url));
        self.sources.local.sort();
        self.request.secrets.sort_by(|a, b| a.id.cmp(&b.id));
        self.request.ssh.sort_by(|a, b| a.id.cmp(&b.id));
    }
}

fn add(known: &mut Vec<Secret>, secret: Secret) {
    match known.iter_mut().find(|known| known.id == secret.id) {
        Some(known) => known.optional &= secret.optional,
        None => known.push(secret),
    }
}

/// Returns an address without the name and password in it.
pub(super) fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = match rest.find(['/', '?', '#']) {
        Some(end) => rest.split_at(end),
        None => (rest, ""),
    };
    let Some((user, host)) = authority.rsplit_once('@') else { return url.to_owned() };
    let masked = match user.split_once(':') {
        Some(("", _)) => ":xxxxx",
        Some(_) => "xxxxx:xxxxx",
        None if user.is_empty() => "",
        None => "xxxxx",
    };
    format!("{scheme}://{masked}@{host}{path}")
}
