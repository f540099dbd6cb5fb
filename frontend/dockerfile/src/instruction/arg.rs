//! `ARG name[=default]...`

use crate::arguments::Arguments;
use crate::problem::Problem;
use crate::request::Request;
use crate::source::{Span, Template};
use crate::words::Word;

/// Declares build arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    /// The arguments, in the order written.
    pub arguments: Vec<ArgDefinition>,
}

/// One build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgDefinition {
    /// The name, taken as it is.
    pub name: Template,
    /// The default, expanded only if the build gives no value.
    pub default: Option<Template>,
    /// What the comment `# name …` above the instruction says.
    pub description: Option<String>,
}

impl Arg {
    /// Flags in front of the names are not looked at, as BuildKit does not either.
    pub(crate) fn read(request: &Request<'_>) -> Result<Self, Problem> {
        let definition = |word: &Word| {
            let (name, default) = match word.text.split_once('=') {
                Some(("", _)) => return Err(Problem::new("ARG names can not be blank").at(word.range)),
                Some((name, default)) => (name, Some(default)),
                None => (word.text.as_str(), None),
            };
            // An escape at the very end of the line is not in the text, so that the text may be the shorter one.
            let middle = (word.range.start + name.len()).min(word.range.end);
            let behind = (middle + 1).min(word.range.end);
            Ok(ArgDefinition {
                name: Template::new(name, request.span(Span::new(word.range.start, middle))),
                default: default.map(|text| Template::new(text, request.span(Span::new(behind, word.range.end)))),
                description: request.description(name),
            })
        };
        match &request.arguments {
            Arguments::Words(words) if !words.is_empty() => {
                Ok(Self { arguments: words.iter().map(definition).collect::<Result<_, _>>()? })
            }
            _ => Err(request.at_least_one()),
        }
    }
}
