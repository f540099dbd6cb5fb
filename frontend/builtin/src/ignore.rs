//! Ignore files: which paths of a directory do not count.

use rbuild_tree::pattern::parse_ignore_file;

use crate::error::BuiltinError;
use crate::host::Host;
use crate::local::{IGNORE_FILE, Load};

/// The largest ignore file that is read: every path of the context is held against every line.
pub(crate) const MAX_IGNORE_FILE: u64 = 1 << 20;

/// Reads the lines of the file called `name`.
pub(crate) fn patterns(name: &str, bytes: &[u8]) -> Result<Vec<String>, BuiltinError> {
    if bytes.len() as u64 > MAX_IGNORE_FILE {
        let reason = format!("failed parsing {name}: it is larger than {MAX_IGNORE_FILE} bytes");
        return Err(BuiltinError::Request(reason));
    }
    Ok(parse_ignore_file(bytes))
}

/// Returns the patterns of the ignore file of the build context. A context that cannot be loaded has none: it fails
/// when the build needs it, and many builds do not.
pub(crate) async fn of_context(
    directory: &str,
    session: Option<&str>,
    host: &dyn Host,
) -> Result<Vec<String>, BuiltinError> {
    let load = Load {
        directory,
        session,
        paths: &[IGNORE_FILE.to_owned()],
        hint: &format!("{directory}-{IGNORE_FILE}"),
        shown: &format!("[internal] load {IGNORE_FILE}"),
    };
    match host.solve(&load.definition()).await {
        Ok(files) => {
            let failed = BuiltinError::host("failed to read dockerignore patterns");
            let bytes = files.read_file(IGNORE_FILE, MAX_IGNORE_FILE + 1).await.map_err(failed)?;
            bytes.map_or(Ok(Vec::new()), |bytes| patterns(IGNORE_FILE, &bytes))
        }
        Err(_) => Ok(Vec::new()),
    }
}

/// Returns the patterns of the ignore file of a named context.
pub(crate) async fn of_named(
    directory: &str,
    context: &str,
    session: Option<&str>,
    host: &dyn Host,
) -> Result<Vec<String>, BuiltinError> {
    let load = Load {
        directory,
        session,
        paths: &[IGNORE_FILE.to_owned()],
        hint: &format!("context:{context}-{IGNORE_FILE}"),
        shown: &format!("[context {context}] load {IGNORE_FILE}"),
    };
    let attempt = format!("loading {IGNORE_FILE} of context {context}");
    let files = host.solve(&load.definition()).await.map_err(BuiltinError::host(attempt.clone()))?;
    let bytes = files.read_file(IGNORE_FILE, MAX_IGNORE_FILE + 1).await.map_err(BuiltinError::host(attempt))?;
    bytes.map_or(Ok(Vec::new()), |bytes| patterns(IGNORE_FILE, &bytes))
}
