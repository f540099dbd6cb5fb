//! Sources and destination, the common part of `ADD` and `COPY`.

use crate::source::{Span, Template};

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
