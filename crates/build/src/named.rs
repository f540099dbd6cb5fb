//! The contexts of a build by name: directories, OCI layouts, and what only the frontend reads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rbuild_oci::Digest;
use rbuild_ops::OciLayout;

use crate::error::BuildError;
use crate::input::{CONTEXT, Input};
use crate::request::BuildRequest;

/// The contexts of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contexts {
    /// Directories read in place, by name.
    pub(crate) locals: BTreeMap<String, PathBuf>,
    /// OCI layouts, by name.
    pub(crate) layouts: BTreeMap<String, PathBuf>,
    /// What `--build-context` gave, as the frontend knows it.
    pub(crate) named: BTreeMap<String, String>,
}

/// Sorts what a request gives. Looks at directories and into OCI layouts.
pub(crate) fn contexts(request: &BuildRequest, input: &Input) -> Result<Contexts, BuildError> {
    let mut contexts = Contexts::default();
    contexts.locals.extend(input.directory.clone().map(|directory| (CONTEXT.to_owned(), directory)));
    for (name, value) in &request.build_contexts {
        let known = if let Some(written) = value.strip_prefix("oci-layout://") {
            let (path, digest) = layout(written).map_err(|error| {
                let reason = BuildError::chain(&error);
                BuildError::Input(format!("build context {name}={value}: {reason}"))
            })?;
            contexts.layouts.insert(name.clone(), path);
            format!("oci-layout://{name}@{digest}")
        } else if value.starts_with("target:") || value.contains("://") || value.starts_with("git@") {
            value.clone()
        } else {
            let directory = std::fs::metadata(value).and_then(|found| match found.is_dir() {
                true => Ok(PathBuf::from(value)),
                false => Err(std::io::ErrorKind::NotADirectory.into()),
            });
            let failed = |error| BuildError::Input(format!("build context {name}={value}: {error}"));
            contexts.locals.insert(name.clone(), directory.map_err(failed)?);
            format!("local:{name}")
        };
        contexts.named.insert(name.clone(), known);
    }
    Ok(contexts)
}

/// Reads `path`, `path:tag` or `path@digest`.
fn layout(written: &str) -> Result<(PathBuf, Digest), rbuild_ops::OpsError> {
    if let Some((path, digest)) = written.rsplit_once('@')
        && let Ok(digest) = digest.parse()
    {
        OciLayout::open(Path::new(path))?;
        return Ok((path.into(), digest));
    }
    let tagged = written.rsplit_once(':').filter(|(_, tag)| !tag.contains('/') && !Path::new(written).exists());
    let (path, tag) = tagged.map_or((written, None), |(path, tag)| (path, Some(tag)));
    let digest = OciLayout::open(Path::new(path))?.find(tag)?;
    Ok((path.into(), digest))
}
