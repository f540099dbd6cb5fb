//! Names used in source ops: schemes of identifiers and keys of attributes.

/// An image in a registry: reference, normally with a digest.
pub const DOCKER_IMAGE: &str = "docker-image://";
/// A directory of the client, by name.
pub const LOCAL: &str = "local://";
/// A git repository: host and path, then `#ref[:subdirectory]`.
pub const GIT: &str = "git://";
/// A file by http.
pub const HTTP: &str = "http://";
/// A file by https.
pub const HTTPS: &str = "https://";
/// An image in an OCI layout of the client.
pub const OCI_LAYOUT: &str = "oci-layout://";
/// A blob of a repository in a registry: reference with the blob's digest.
pub const DOCKER_IMAGE_BLOB: &str = "docker-image+blob://";
/// A blob of an OCI layout of the client.
pub const OCI_LAYOUT_BLOB: &str = "oci-layout+blob://";

/// Keys of source attributes.
pub mod attr {
    /// Git: `true` keeps the `.git` directory.
    pub const KEEP_GIT_DIR: &str = "git.keepgitdir";
    /// Git: the address to fetch from.
    pub const FULL_REMOTE_URL: &str = "git.fullurl";
    /// Git: name of the secret that holds an authorization header.
    pub const AUTH_HEADER_SECRET: &str = "git.authheadersecret";
    /// Git: name of the secret that holds a token.
    pub const AUTH_TOKEN_SECRET: &str = "git.authtokensecret";
    /// Git: known hosts for ssh.
    pub const KNOWN_SSH_HOSTS: &str = "git.knownsshhosts";
    /// Git: name of the ssh agent.
    pub const MOUNT_SSH_SOCK: &str = "git.mountsshsock";
    /// Git: commit that must be found.
    pub const GIT_CHECKSUM: &str = "git.checksum";
    /// Git: `true` leaves submodules away.
    pub const GIT_SKIP_SUBMODULES: &str = "git.skipsubmodules";
    /// Git: `checkout` or `commit`, where file times come from.
    pub const GIT_MTIME: &str = "git.mtime";
    /// Git: `true` fetches the commit of the checksum rather than the ref.
    pub const GIT_FETCH_BY_COMMIT: &str = "git.fetchbycommit";

    /// Local: the session that has the directory.
    pub const LOCAL_SESSION_ID: &str = "local.session";
    /// Local: keeps apart two builds without a session.
    pub const LOCAL_UNIQUE_ID: &str = "local.unique";
    /// Local: JSON list of patterns to include.
    pub const INCLUDE_PATTERNS: &str = "local.includepattern";
    /// Local: JSON list of paths to take, following links.
    pub const FOLLOW_PATHS: &str = "local.followpaths";
    /// Local: JSON list of ignore patterns.
    pub const EXCLUDE_PATTERNS: &str = "local.excludepatterns";
    /// Local: builds with the same hint share transferred files.
    pub const SHARED_KEY_HINT: &str = "local.sharedkeyhint";
    /// Local: `none` or `metadata`, how changed files are found.
    pub const LOCAL_DIFFER: &str = "local.differ";
    /// Local: a truth value, whether only names and metadata are wanted.
    pub const LOCAL_METADATA_TRANSFER: &str = "local.metadatatransfer";
    /// Local: JSON list of patterns of files whose contents are wanted nevertheless.
    pub const LOCAL_METADATA_EXCLUDE: &str = "local.metadatatransferexclude";

    /// Http: digest of the file.
    pub const HTTP_CHECKSUM: &str = "http.checksum";
    /// Http: name of the file in the result.
    pub const HTTP_FILENAME: &str = "http.filename";
    /// Http: octal mode of the file.
    pub const HTTP_PERM: &str = "http.perm";
    /// Http: owner of the file.
    pub const HTTP_UID: &str = "http.uid";
    /// Http: group of the file.
    pub const HTTP_GID: &str = "http.gid";
    /// Http: name of the secret that holds an authorization header.
    pub const HTTP_AUTH_HEADER_SECRET: &str = "http.authheadersecret";
    /// Http: prefix of request headers.
    pub const HTTP_HEADER_PREFIX: &str = "http.header.";

    /// Image: `default`, `pull` or `local`.
    pub const IMAGE_RESOLVE_MODE: &str = "image.resolvemode";
    /// Image: kind of cache record.
    pub const IMAGE_RECORD_TYPE: &str = "image.recordtype";
    /// Image: how many layers to take.
    pub const IMAGE_LAYER_LIMIT: &str = "image.layerlimit";
    /// Image: digest that must be found.
    pub const IMAGE_CHECKSUM: &str = "image.checksum";

    /// OCI layout: the session that has the layout.
    pub const OCI_LAYOUT_SESSION_ID: &str = "oci.session";
    /// OCI layout: name of the layout.
    pub const OCI_LAYOUT_STORE_ID: &str = "oci.store";
    /// OCI layout: how many layers to take.
    pub const OCI_LAYOUT_LAYER_LIMIT: &str = "oci.layerlimit";
}

/// Returns the identifier that all spellings of a source have in common, which policies are asked about: the directory
/// of a repository without detours.
pub fn canonical(identifier: &str) -> String {
    let parts = identifier.strip_prefix(GIT).and_then(|rest| rest.split_once('#'));
    let Some((repository, fragment)) = parts else { return identifier.to_owned() };
    let Some((reference, directory)) = fragment.split_once(':') else { return identifier.to_owned() };
    let mut names = Vec::new();
    for name in directory.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    let colon = if names.is_empty() { "" } else { ":" };
    format!("{GIT}{repository}#{reference}{colon}{}", names.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_directories() {
        for (identifier, expect) in [
            ("git://h/r.git#main:../absolute/path", "git://h/r.git#main:absolute/path"),
            ("git://h/r.git#main:/a/./b//../c/", "git://h/r.git#main:a/c"),
            ("git://h/r.git#main:/", "git://h/r.git#main"),
            ("git://h/r.git#:a", "git://h/r.git#:a"),
            ("git://h/r.git#v1", "git://h/r.git#v1"),
            ("https://h/x#a:../b", "https://h/x#a:../b"),
        ] {
            assert_eq!(canonical(identifier), expect);
        }
    }
}
