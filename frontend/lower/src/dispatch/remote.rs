//! Sources of `ADD` that are fetched: git repositories and addresses (D003-D012).

use rbuild_dockerfile::Place;
use rbuild_graph::{Output, pb};
use rbuild_oci::Digest;

use super::Walk;
use super::copy::{Copying, is_address};
use crate::error::{Fallible, fail};
use crate::git::{self, GitRef};
use crate::names::named;
use crate::source_op;

impl Walk<'_, '_> {
    /// Makes the op that fetches `path` if it is not a path, and completes the copy from there.
    pub(super) fn remote(
        &mut self,
        copying: &Copying,
        path: &str,
        name: &str,
        template: pb::FileActionCopy,
        place: Place,
    ) -> Fallible<Option<(Output, pb::FileActionCopy)>> {
        match git::parse(path).map_err(|reason| fail(place, reason))? {
            Some(git) if !git.like_a_path => {
                if !copying.is_add {
                    return Err(fail(place, "source can't be a git ref for COPY"));
                }
                let git = with_flags(git, copying).map_err(|reason| fail(place, reason))?;
                let output =
                    source_op::add_source(&mut self.front.builder, source_op::git(&git), None, &named(name), &[]);
                Ok(Some((output, pb::FileActionCopy { src: "/".to_owned(), ..template })))
            }
            _ if is_address(path) => {
                if !copying.is_add {
                    return Err(fail(place, "source can't be a URL for COPY"));
                }
                let checksum =
                    copying.checksum.as_deref().map(checked).transpose().map_err(|reason| fail(place, reason))?;
                let file = git::file_name(path);
                let source = source_op::http(path, &file, checksum.as_deref());
                let output = source_op::add_source(&mut self.front.builder, source, None, &named(name), &[]);
                let src = crate::path::join("/", &file);
                let attempt_unpack_docker_compatibility = copying.unpack.unwrap_or(false);
                Ok(Some((output, pb::FileActionCopy { src, attempt_unpack_docker_compatibility, ..template })))
            }
            _ => Ok(None),
        }
    }
}

/// Joins what the flags and the address say; they may not contradict each other.
fn with_flags(mut git: GitRef, copying: &Copying) -> Result<GitRef, String> {
    match (copying.keep_git_dir, git.keep_git_dir) {
        (Some(flag), Some(query)) if flag != query => return Err("inconsistent keep-git-dir configuration".to_owned()),
        (flag, query) => git.keep_git_dir = query.or(flag),
    }
    match (&copying.checksum, &git.checksum) {
        (Some(flag), Some(query)) if flag != query => return Err(format!("checksum mismatch {flag:?} != {query:?}")),
        (flag, query) => git.checksum = query.clone().or_else(|| flag.clone()),
    }
    // `ADD` keeps the times of the checkout, whatever a build context of the same address would do.
    git.mtime = None;
    Ok(git)
}

/// Reads the checksum of a file (D005).
fn checked(text: &str) -> Result<String, String> {
    let (algorithm, _) = text.split_once(':').ok_or_else(|| format!("invalid checksum digest format: {text}"))?;
    if algorithm != "sha256" {
        return Err(format!("unsupported digest algorithm: {algorithm}"));
    }
    let digest: Digest = text.parse().map_err(|error| format!("invalid checksum digest format: {error}"))?;
    Ok(digest.to_string())
}
