//! Which frontend is asked for: this one, or one that is an image.

use rbuild_dockerfile::detect_syntax;
use rbuild_lower::is_built_in;

use crate::attributes::Attributes;
use crate::dockerfile::Read;
use crate::error::{Asker, BuiltinError, Forward, SourcePlace, ranges};

/// The build argument that goes before the directive.
const ARGUMENT: &str = "build-arg:BUILDKIT_SYNTAX";

/// Checks that this frontend is the one asked for. It is if the gateway chose it already.
pub(crate) fn check(read: &Read, attributes: &Attributes<'_>) -> Result<(), BuiltinError> {
    if attributes.get("cmdline").is_some() {
        return Ok(());
    }
    if let Some(asked) = attributes.get(ARGUMENT) {
        let first = asked.trim().split(' ').next().unwrap_or_default();
        let asker = Asker::Attribute(format!("failed with {ARGUMENT} = {asked}"));
        return forward(first, asked, asker, attributes);
    }
    let Some(directive) = detect_syntax(&read.text) else { return Ok(()) };
    let place = SourcePlace { info: read.info.clone(), ranges: vec![ranges(directive.lines)] };
    forward(directive.first_word(), &directive.value, Asker::Directive(Box::new(place)), attributes)
}

fn forward(source: &str, cmdline: &str, asker: Asker, attributes: &Attributes<'_>) -> Result<(), BuiltinError> {
    if is_built_in(source) {
        return Ok(());
    }
    let mut all = attributes.all().clone();
    all.insert("cmdline".to_owned(), cmdline.to_owned());
    all.insert("source".to_owned(), source.to_owned());
    Err(BuiltinError::NeedsGateway(Box::new(Forward { source: source.to_owned(), attributes: all, asker })))
}
