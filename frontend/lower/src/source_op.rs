//! Source ops, with the attributes that BuildKit gives them.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_graph::source::{self, attr};
use rbuild_graph::{Builder, Output, pb};
use rbuild_oci::{Digest, Platform, Reference};

use crate::git::GitRef;
use crate::path;

/// Adds an op of `kind`; only ops whose result depends on it have a platform.
pub(crate) fn add(
    builder: &mut Builder,
    kind: pb::Kind,
    platform: Option<&Platform>,
    inputs: Vec<Output>,
    metadata: &pb::OpMetadata,
    places: &[pb::Location],
) -> Output {
    let constraints = Some(pb::WorkerConstraints::default());
    let op = pb::Op { op: Some(kind), platform: platform.map(pb::Platform::from), constraints, ..pb::Op::default() };
    builder.add(op, inputs, metadata, places).output(0)
}

/// Adds a source op.
pub(crate) fn add_source(
    builder: &mut Builder,
    source: pb::SourceOp,
    platform: Option<&Platform>,
    metadata: &pb::OpMetadata,
    places: &[pb::Location],
) -> Output {
    add(builder, pb::Kind::Source(source), platform, Vec::new(), metadata, places)
}

/// An image in a registry.
pub(crate) fn image(reference: &Reference, mode: Option<&str>) -> pb::SourceOp {
    let attrs = mode.map(|mode| (attr::IMAGE_RESOLVE_MODE.to_owned(), mode.to_owned())).into_iter().collect();
    pb::SourceOp { identifier: format!("{}{reference}", source::DOCKER_IMAGE), attrs }
}

/// An image in an OCI layout of the client; `name` is only shown.
pub(crate) fn layout(name: &Reference, store: &str, digest: Digest, session: Option<&str>) -> pb::SourceOp {
    let mut attrs = BTreeMap::from([(attr::OCI_LAYOUT_STORE_ID.to_owned(), store.to_owned())]);
    attrs.extend(session.map(|session| (attr::OCI_LAYOUT_SESSION_ID.to_owned(), session.to_owned())));
    pb::SourceOp { identifier: format!("{}{}", source::OCI_LAYOUT, name.with_digest(digest)), attrs }
}

/// A file behind an address.
pub(crate) fn http(address: &str, filename: &str, checksum: Option<&str>) -> pb::SourceOp {
    let mut attrs = BTreeMap::from([(attr::HTTP_FILENAME.to_owned(), filename.to_owned())]);
    attrs.extend(checksum.map(|checksum| (attr::HTTP_CHECKSUM.to_owned(), checksum.to_owned())));
    pb::SourceOp { identifier: address.to_owned(), attrs }
}

/// A git repository.
pub(crate) fn git(git: &GitRef) -> pb::SourceOp {
    let mut identifier = format!("{}{}{}", source::GIT, git.host, path::join("/", &git.path));
    if !git.reference.is_empty() || !git.directory.is_empty() {
        identifier.push('#');
        identifier.push_str(&git.reference);
    }
    if !git.directory.is_empty() {
        identifier.push(':');
        identifier.push_str(&git.directory);
    }
    let mut attrs = BTreeMap::from([
        (attr::FULL_REMOTE_URL, git.remote.clone()),
        (attr::AUTH_TOKEN_SECRET, "GIT_AUTH_TOKEN".to_owned()),
        (attr::AUTH_HEADER_SECRET, "GIT_AUTH_HEADER".to_owned()),
    ]);
    let flag = |set: bool| set.then(|| "true".to_owned());
    let optional = [
        (attr::KEEP_GIT_DIR, flag(git.keep_git_dir == Some(true))),
        (attr::GIT_CHECKSUM, git.checksum.clone()),
        (attr::GIT_SKIP_SUBMODULES, flag(git.submodules == Some(false))),
        (attr::GIT_MTIME, git.mtime.clone()),
        (attr::GIT_FETCH_BY_COMMIT, flag(git.fetch_by_commit)),
        (attr::MOUNT_SSH_SOCK, git.ssh.then(|| "default".to_owned())),
    ];
    attrs.extend(optional.into_iter().filter_map(|(key, value)| value.map(|value| (key, value))));
    let attrs = attrs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    pb::SourceOp { identifier, attrs }
}

/// A directory of the client. `used` are the paths in use: all of it if `/` is among them or none.
pub(crate) fn local(
    name: &str,
    hint: &str,
    session: Option<&str>,
    exclude: &[String],
    used: &BTreeSet<String>,
) -> pb::SourceOp {
    let mut attrs = BTreeMap::from([(attr::SHARED_KEY_HINT.to_owned(), hint.to_owned())]);
    attrs.extend(session.map(|session| (attr::LOCAL_SESSION_ID.to_owned(), session.to_owned())));
    if !exclude.is_empty() {
        attrs.insert(attr::EXCLUDE_PATTERNS.to_owned(), json_list(exclude));
    }
    if !used.is_empty() && !used.contains("/") {
        let mut paths: Vec<String> = used.iter().map(|used| path::clean(&format!("./{used}"))).collect();
        paths.sort();
        attrs.insert(attr::FOLLOW_PATHS.to_owned(), json_list(&paths));
    }
    pb::SourceOp { identifier: format!("{}{name}", source::LOCAL), attrs }
}

/// Writes a JSON list with the escapes of BuildKit's encoder, as the bytes are part of the digest.
fn json_list(texts: &[String]) -> String {
    let plain = serde_json::to_string(texts).expect("a list of texts is JSON");
    let escaped =
        [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];
    escaped.into_iter().fold(plain, |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    // items: K010
    #[test]
    fn k010_git() {
        let parsed = crate::git::parse("git@github.com:moby/buildkit.git?submodules=false#v1:docs").unwrap().unwrap();
        let op = git(&parsed);
        assert_eq!(op.identifier, "git://github.com/moby/buildkit.git#v1:docs");
        assert_eq!(op.attrs["git.fullurl"], "git@github.com:moby/buildkit.git");
        assert_eq!(op.attrs["git.mountsshsock"], "default");
        assert_eq!(op.attrs["git.skipsubmodules"], "true");
    }

    // items: C023
    #[test]
    fn c023_used_paths() {
        let used = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<BTreeSet<_>>();
        let follow =
            |paths| local("context", "context", None, &[], &used(paths)).attrs.get("local.followpaths").cloned();
        assert_eq!(follow(&[]), None);
        assert_eq!(follow(&["/", "/a"]), None);
        assert_eq!(follow(&["/b", "/a/c<"]).as_deref(), Some(r#"["a/c\u003c","b"]"#));
    }
}
