//! Results of other builds that a client hands over (`FrontendInputs`), with what is known of them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rbuild_graph::{Definition, pb};
use rbuild_lower::Input;
use rbuild_oci::{ImageConfig, json};

use crate::attributes::Attributes;
use crate::error::{BuiltinError, chain};

/// The attribute that tells of an input, before its name.
const METADATA: &str = "input-metadata:";
/// The key of the image configuration in the metadata of a result.
pub(crate) const CONFIG: &str = "containerimage.config";

/// Takes over the inputs.
pub(crate) fn read(
    inputs: &BTreeMap<String, pb::Definition>,
    attributes: &Attributes<'_>,
) -> Result<BTreeMap<String, Input>, BuiltinError> {
    inputs
        .iter()
        .map(|(name, definition)| {
            let failed = |reason| BuiltinError::Request(format!("failed to get frontend inputs: {name}: {reason}"));
            let definition = take_over(definition).map_err(failed)?;
            let metadata = attributes.get(&format!("{METADATA}{name}"));
            let config = metadata.map(config).transpose().map_err(BuiltinError::Request)?.flatten();
            Ok((name.clone(), Input { definition, config }))
        })
        .collect()
}

fn take_over(definition: &pb::Definition) -> Result<Definition, String> {
    // An empty map and none are the same on the wire: BuildKit takes both for no graph at all.
    if definition.metadata.is_empty() {
        return Err("invalid nil input definition to definition op".to_owned());
    }
    Definition::from_pb(definition.clone()).map_err(|error| error.to_string())
}

/// Returns the image configuration among the metadata of an input.
fn config(metadata: &str) -> Result<Option<ImageConfig>, String> {
    let failed = |reason: String| format!("failed to parse input metadata {metadata}: {reason}");
    let values: BTreeMap<String, Option<String>> =
        json::from_slice(metadata.as_bytes()).map_err(|error| failed(chain(&error)))?;
    let Some(encoded) = values.get(CONFIG).and_then(Option::as_ref) else { return Ok(None) };
    let bytes = STANDARD.decode(encoded).map_err(|error| failed(error.to_string()))?;
    json::from_slice(&bytes).map(Some).map_err(|error| failed(chain(&error)))
}
