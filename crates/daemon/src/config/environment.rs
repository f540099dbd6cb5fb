//! What an administrator tells of a builder, for the provenance of everything that is built by it.

use std::path::Path;
use std::{fs, io};

use serde_json::{Map, Value};

use super::reader::ConfigError;

/// The largest document that is read.
const MOST_BYTES: u64 = 1 << 20;

/// Joins the JSON objects of a directory, in the order of their names; what a later one says counts.
///
/// # Errors
/// If one cannot be read, or is no object. There need be no directory.
pub fn environment(directory: &Path) -> Result<Map<String, Value>, ConfigError> {
    let error = |path: &Path, message: String| ConfigError { path: path.to_owned(), line: None, message };
    let entries = match fs::read_dir(directory) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Map::new()),
        entries => entries.and_then(Iterator::collect::<io::Result<Vec<_>>>),
    };
    let entries = entries.map_err(|failed| error(directory, failed.to_string()))?;
    let mut paths: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json") && !path.is_dir());
    paths.sort();
    let mut environment = Map::new();
    for path in paths {
        let metadata = fs::metadata(&path).map_err(|failed| error(&path, failed.to_string()))?;
        if !metadata.is_file() || metadata.len() > MOST_BYTES {
            return Err(error(&path, "not a regular file of at most 1 MiB".to_owned()));
        }
        let text = fs::read(&path).map_err(|failed| error(&path, failed.to_string()))?;
        let fields: Map<String, Value> =
            serde_json::from_slice(&text).map_err(|failed| error(&path, format!("not a JSON object: {failed}")))?;
        environment.extend(fields);
    }
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_joined() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        assert_eq!(environment(&directory.path().join("none")).unwrap(), Map::new());
        write("b.json", r#"{"a": 2, "list": [1]}"#);
        write("a.json", r#"{"a": 1, "first": "x"}"#);
        write("notes.txt", "no json");
        let found = Value::Object(environment(directory.path()).unwrap());
        assert_eq!(found, serde_json::json!({"a": 2, "first": "x", "list": [1]}));
        write("c.json", "[]");
        assert!(environment(directory.path()).unwrap_err().to_string().contains("c.json"));
    }
}
