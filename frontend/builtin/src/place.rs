//! Where the build context and the Dockerfile are.
//!
//! ```text
//! attribute `context` ─┬─ git address ──▶ repository, Dockerfile inside
//!                      ├─ http address ─▶ fetched: an archive with a Dockerfile inside, or the Dockerfile itself
//!                      └─ neither ──────▶ input `context`, else the client's directory `context`;
//!                                         Dockerfile: input `dockerfile`, else the client's directory `dockerfile`
//! ```
//!
//! The attribute `dockerfilekey` names a directory of the client for the Dockerfile whatever the context is.

use std::collections::BTreeMap;

use rbuild_graph::Definition;
use rbuild_lower::{Input, MainContext, git, remote_context};

use crate::attributes::Attributes;
use crate::error::BuiltinError;
use crate::host::Host;

/// The name of the context among the client's directories and the inputs.
pub(crate) const CONTEXT: &str = "context";
/// The name of the Dockerfile's directory among the client's directories and the inputs.
const DOCKERFILE: &str = "dockerfile";
/// What a downloaded context is called in its result.
const DOWNLOADED: &str = "context";
/// What the Dockerfile is called if nobody says.
pub(crate) const DEFAULT_NAME: &str = "Dockerfile";

/// Where the build context and the Dockerfile are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Place {
    /// The context; the ignore patterns of a directory are not known yet.
    pub(crate) context: MainContext,
    /// The directory of the context that counts, if it is not the client's.
    pub(crate) directory: Option<String>,
    /// Where the Dockerfile is.
    pub(crate) dockerfile: Origin,
    /// Its path there.
    pub(crate) filename: String,
}

/// Where the Dockerfile is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Origin {
    /// In a directory of the client.
    Local(String),
    /// In the result of a graph.
    Graph(Box<Definition>),
}

/// Finds context and Dockerfile; a context behind an http address is fetched to see what it is.
pub(crate) async fn find(
    attributes: &Attributes<'_>,
    inputs: &BTreeMap<String, Input>,
    host: &dyn Host,
) -> Result<Place, BuiltinError> {
    let address = attributes.get(attributes.get("contextkey").unwrap_or(CONTEXT)).unwrap_or_default();
    let filename = attributes.get("filename").unwrap_or(DEFAULT_NAME).to_owned();
    let local = |name: &str| Origin::Local(name.to_owned());
    let mut place = if git::parse(address).map_err(BuiltinError::Request)?.is_some() {
        let context = MainContext::Git(address.to_owned());
        Place { dockerfile: fetched(&context, attributes)?, context, directory: None, filename }
    } else if address.starts_with("http://") || address.starts_with("https://") {
        downloaded(address, filename, attributes, host).await?
    } else {
        let context = match inputs.contains_key(CONTEXT) {
            true => MainContext::Input(CONTEXT.to_owned()),
            false => MainContext::Local { name: CONTEXT.to_owned(), exclude: Vec::new() },
        };
        let input = inputs.get(DOCKERFILE).map(|input| Origin::Graph(Box::new(input.definition.clone())));
        Place { context, directory: None, dockerfile: input.unwrap_or_else(|| local(DOCKERFILE)), filename }
    };
    if let Some(name) = attributes.get("dockerfilekey") {
        place.dockerfile = local(name);
    }
    if !matches!(place.context, MainContext::Local { .. }) {
        place.directory = attributes.get("contextsubdir").map(str::to_owned);
    }
    Ok(place)
}

/// Fetches what is behind `address`: an archive, or a Dockerfile.
async fn downloaded(
    address: &str,
    filename: String,
    attributes: &Attributes<'_>,
    host: &dyn Host,
) -> Result<Place, BuiltinError> {
    let file = MainContext::File(address.to_owned());
    let definition = remote(&file, attributes)?;
    let files = host.solve(&definition).await.map_err(BuiltinError::host("failed to resolve httpcontext"))?;
    let is_archive =
        files.is_archive(DOWNLOADED).await.map_err(BuiltinError::host("failed to read downloaded context"))?;
    if !is_archive {
        let dockerfile = Origin::Graph(Box::new(definition));
        return Ok(Place { context: file, directory: None, dockerfile, filename: DOWNLOADED.to_owned() });
    }
    let context = MainContext::Archive(address.to_owned());
    Ok(Place { dockerfile: fetched(&context, attributes)?, context, directory: None, filename })
}

fn fetched(context: &MainContext, attributes: &Attributes<'_>) -> Result<Origin, BuiltinError> {
    Ok(Origin::Graph(Box::new(remote(context, attributes)?)))
}

fn remote(context: &MainContext, attributes: &Attributes<'_>) -> Result<Definition, BuiltinError> {
    let definition = remote_context(context, &attributes.request.build_args).map_err(BuiltinError::Request)?;
    definition.ok_or_else(|| BuiltinError::Request("the build context has no address".to_owned()))
}
