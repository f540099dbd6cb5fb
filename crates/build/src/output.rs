//! Outputs of a build of the command line.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use rbuild_export::result::{BASE_CONFIG, CONFIG, EPOCH, PLATFORMS};
use rbuild_export::{Asker, BuildResult, ExportError, Exporter, LocalFiles, Output, Refs, Response, platforms_value};
use rbuild_lower::Lowered;
use rbuild_oci::{Descriptor, Digest, Reference};
use rbuild_store::LayerId;

use crate::builder::BuildOutcome;
use crate::error::BuildError;
use crate::request::BuildRequest;

/// Reads the outputs that are asked for; none is the local store.
pub(crate) fn outputs(request: &BuildRequest) -> Result<Vec<Output>, BuildError> {
    let default = [crate::OutputSpec { kind: "image".to_owned(), attributes: BTreeMap::new() }];
    let specs = if request.outputs.is_empty() { &default[..] } else { &request.outputs[..] };
    let mut outputs = Vec::with_capacity(specs.len());
    for spec in specs {
        let mut output = Output::parse(spec, Asker::CommandLine).map_err(BuildError::input)?;
        output.tag(&request.tags);
        outputs.push(output);
    }
    if outputs.iter().filter(|output| output.is_stdout()).count() > 1 {
        return Err(BuildError::Input("only one output can go to standard output".to_owned()));
    }
    Ok(outputs)
}

/// Returns layers with what the frontend tells of them, as every exporter takes it.
pub(crate) fn result(lowered: &[&Lowered], layers: Vec<Vec<LayerId>>) -> BuildResult {
    let mut metadata = BTreeMap::new();
    let platforms: Vec<_> = lowered.iter().map(|lowered| lowered.platform.clone()).collect();
    for (lowered, platform) in lowered.iter().zip(&platforms) {
        let mut tell = |key: &str, value: Vec<u8>| match lowered_alone(&platforms) {
            true => metadata.insert(key.to_owned(), value),
            false => metadata.insert(format!("{key}/{platform}"), value),
        };
        tell(CONFIG, lowered.config.to_json());
        if let Some(base) = &lowered.base {
            tell(BASE_CONFIG, base.config.to_json());
        }
        if let Some(epoch) = lowered.epoch {
            tell(EPOCH, epoch.to_string().into_bytes());
        }
    }
    let refs = match lowered_alone(&platforms) {
        true => Refs::One(layers.into_iter().next().unwrap_or_default()),
        false => {
            metadata.insert(PLATFORMS.to_owned(), platforms_value(&platforms));
            Refs::Several(platforms.iter().map(ToString::to_string).zip(layers).collect())
        }
    };
    BuildResult { refs, metadata, attestations: BTreeMap::new() }
}

fn lowered_alone<T>(platforms: &[T]) -> bool {
    platforms.len() == 1
}

/// Carries all outputs out, then pushes what is to be pushed.
pub(crate) async fn export(
    exporter: &Exporter,
    outputs: &[Output],
    result: BuildResult,
    stdout: fn() -> Box<dyn Write + Send>,
) -> Result<BuildOutcome, BuildError> {
    let result = Arc::new(result);
    let mut pushes = Vec::new();
    let mut made = Made::default();
    for (position, output) in outputs.iter().enumerate() {
        let dest = output.dest().unwrap_or_else(|| PathBuf::from("-"));
        let destination = Arc::new(LocalFiles { dest, stdout });
        let id = format!("{} {position}", output.title());
        let exported = exporter.export(output, result.clone(), destination, &id).await.map_err(told)?;
        made.image_id = made.image_id.or(exported.image_id);
        made.descriptor = made.descriptor.or(exported.descriptor);
        made.names.extend(exported.names);
        for (key, value) in exported.response {
            made.response.entry(key).or_insert(value);
        }
        pushes.extend(exported.push);
    }
    for push in pushes {
        push.finish().await.map_err(told)?;
    }
    made.names.dedup();
    let image_id = match made.image_id {
        Some(id) => id,
        None => {
            let images = exporter.images.clone();
            let id = tokio::task::spawn_blocking(move || rbuild_export::image_id(&images, &result)).await;
            id.map_err(BuildError::engine)?.map_err(told)?
        }
    };
    Ok(BuildOutcome { image_id, descriptor: made.descriptor, names: made.names, response: made.response })
}

/// What the outputs made.
#[derive(Default)]
struct Made {
    image_id: Option<Digest>,
    descriptor: Option<Descriptor>,
    names: Vec<Reference>,
    response: Response,
}

/// What the person asked for is told as it is; what failed inside with its causes.
fn told(error: ExportError) -> BuildError {
    match error {
        ExportError::Push { name, source } => {
            BuildError::Input(format!("failed to push {name}: {}", BuildError::chain(&source)))
        }
        ExportError::Output(_)
        | ExportError::Attribute { .. }
        | ExportError::Annotation { .. }
        | ExportError::Io { action: "creating", .. } => BuildError::input(error),
        other => BuildError::engine(other),
    }
}
