//! `rbuild inspect`.

use rbuild_oci::ImageConfig;
use serde_json::{Value, json};

use crate::command::images::size_of;
use crate::ui::{self, Failure};
use crate::world::World;

/// Show everything about images, as JSON
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names or ids
    #[arg(required = true)]
    images: Vec<String>,
    /// Show one field only, such as `.Config.Env` or `{{.Id}}`
    #[arg(short, long, value_name = "FIELD")]
    format: Option<String>,
}

pub(crate) fn run(args: &Args, world: &World) -> Result<(), Failure> {
    let mut documents = Vec::new();
    for name in &args.images {
        documents.push(document(name, world)?);
    }
    let Some(format) = args.format.as_deref().filter(|format| *format != "json") else {
        let text = serde_json::to_string_pretty(&documents).map_err(Failure::user)?;
        return ui::out(&format!("{text}\n"));
    };
    let path = field_path(format)?;
    let mut text = String::new();
    for document in &documents {
        text.push_str(&shown(field(document, &path, format)?));
        text.push('\n');
    }
    ui::out(&text)
}

fn document(name: &str, world: &World) -> Result<Value, Failure> {
    let image = world.store().images().resolve(name).map_err(Failure::user)?;
    let config: ImageConfig = world.store().blobs().read_json(&image.id.0).map_err(Failure::user)?;
    let names: Vec<_> = image.names.iter().map(rbuild_oci::Reference::familiar).collect();
    let digests: Vec<_> = image.digests.iter().map(rbuild_oci::Reference::familiar).collect();
    Ok(json!({
        "Id": image.id.0.to_string(),
        "RepoTags": names,
        "RepoDigests": digests,
        "Created": config.created,
        "Author": config.author,
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "Size": size_of(world, &image)?,
        "Config": config.config,
        "RootFS": { "Type": "layers", "Layers": config.rootfs.diff_ids },
        "History": config.history,
        "Descriptor": image.target,
    }))
}

/// Understands `{{.A.B}}`, `{{json .A.B}}` and `.A.B`; other templates are refused.
fn field_path(format: &str) -> Result<Vec<String>, Failure> {
    let inner = format.trim().trim_start_matches("{{").trim_end_matches("}}").trim();
    let inner = inner.strip_prefix("json ").unwrap_or(inner).trim();
    let simple =
        inner.starts_with('.') && inner.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/'));
    if !simple {
        let message =
            format!("format `{format}` is not supported: name one field, such as {{{{.Config.Env}}}}, or `json`");
        return Err(Failure::Usage(message));
    }
    Ok(inner.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect())
}

fn field<'a>(document: &'a Value, path: &[String], format: &str) -> Result<&'a Value, Failure> {
    let missing = || Failure::User(format!("format `{format}`: there is no such field"));
    path.iter().try_fold(document, |value, part| value.get(part)).ok_or_else(missing)
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
