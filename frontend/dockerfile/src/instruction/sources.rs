//! Sources and destination, the common part of `ADD` and `COPY`.

use crate::heredoc::{self, HeredocWord};
use crate::literal::quote;
use crate::problem::Problem;
use crate::request::Request;
use crate::source::{Span, Template};
use std::collections::HashMap;

/// What is copied, and where to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    /// Paths (for `ADD` also URLs and git references), in the order written.
    pub paths: Vec<Template>,
    /// Files whose content stands in the Dockerfile, in the order written; they are copied
    /// after `paths`.
    pub files: Vec<InlineFile>,
    /// The destination.
    pub destination: Template,
}

/// A file given as a heredoc (`COPY <<name /destination`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlineFile {
    /// Its name: the heredoc word.
    pub name: String,
    /// Its content, leading tabs removed if it was `<<-`.
    pub content: String,
    /// Whether variables in the content are expanded (the heredoc word had no quotes).
    pub expand: bool,
    /// The bytes of the body in the source.
    pub span: Span,
}

impl Sources {
    /// Cuts the arguments into sources and destination.
    pub(crate) fn read(request: &Request<'_>) -> Result<Self, Problem> {
        let mut words = request.words();
        let destination = words.pop().filter(|_| !words.is_empty()).ok_or_else(|| too_few(request))?;
        if heredoc::is_word(&destination.text) {
            return Err(Problem::new(format!("{} cannot accept a heredoc as a destination", request.keyword)));
        }
        // Of several heredocs of one name the last one counts for all.
        let bodies = request.node.heredocs.iter().map(|heredoc| (heredoc.name.as_str(), heredoc.body)).collect();
        let mut sources = Self { destination, ..Self::default() };
        for word in words {
            match heredoc::parse(&word.text) {
                Ok(Some(heredoc)) => sources.files.push(inline_file(request, heredoc, &bodies)?),
                Ok(None) | Err(_) => sources.paths.push(word),
            }
        }
        Ok(sources)
    }
}

/// Tells that there is no destination; it comes before what is wrong with the flags.
pub(crate) fn too_few(request: &Request<'_>) -> Problem {
    let message = "requires at least two arguments, but only one was provided. Destination could not be determined";
    Problem::new(format!("{} {message}", request.keyword))
}

fn inline_file(request: &Request<'_>, word: HeredocWord, bodies: &HashMap<&str, Span>) -> Result<InlineFile, Problem> {
    let body = bodies.get(word.name.as_str()).copied().unwrap_or_default();
    let content = body.slice(request.source);
    check_file_name(&word.name)?;
    Ok(InlineFile {
        content: if word.chomp { heredoc::chomp(content) } else { content.to_owned() },
        name: word.name,
        expand: word.expand,
        span: request.shown(body),
    })
}

/// Refuses a heredoc word that cannot be the name of a file in one directory.
pub(crate) fn check_file_name(name: &str) -> Result<(), Problem> {
    if name.contains('/') || name == "." || name == ".." {
        let message = format!("heredoc name {} names a file and must be a single path component", quote(name));
        return Err(Problem::new(message));
    }
    Ok(())
}
