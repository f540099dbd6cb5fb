//! One instruction on its way to its type: the node, its arguments cut, and where its words stand.

use crate::arguments::{self, Arguments};
use crate::ast::Node;
use crate::diagnostic::Diagnostic;
use crate::flags::{Flags, Kind};
use crate::keyword::Keyword;
use crate::problem::Problem;
use crate::source::{Place, Span, Template};
use crate::suggest;
use crate::words::Word;

/// An instruction to be read.
pub(crate) struct Request<'a> {
    pub(crate) source: &'a str,
    pub(crate) node: &'a Node<'a>,
    pub(crate) keyword: Keyword,
    pub(crate) arguments: Arguments,
    /// Where everything is said to stand if the text is none of the Dockerfile (a trigger of an image).
    place: Option<Place>,
}

impl<'a> Request<'a> {
    /// Cuts the arguments of `node`.
    pub(crate) fn new(
        source: &'a str,
        escape: char,
        node: &'a Node<'a>,
        place: Option<Place>,
    ) -> Result<Self, Problem> {
        let word = node.keyword();
        let keyword = Keyword::parse(word).ok_or_else(|| {
            let suggestion = suggest::nearest(word, Keyword::ALL.map(Keyword::as_str), false);
            Problem::new(format!("unknown instruction: {word}")).at(node.keyword).suggest(suggestion)
        })?;
        let arguments = arguments::read(keyword, &node.text, node.arguments, escape)?;
        Ok(Self { source, node, keyword, arguments, place })
    }

    /// Turns a range of the joined text into bytes of the source.
    pub(crate) fn span(&self, range: Span) -> Span {
        self.place.map_or_else(|| self.node.source_span(range), |place| place.span)
    }

    /// Returns the bytes of the source that `span` is to be shown as.
    pub(crate) fn shown(&self, span: Span) -> Span {
        self.place.map_or(span, |place| place.span)
    }

    /// Returns where the instruction stands.
    pub(crate) fn place(&self) -> Place {
        self.place.unwrap_or_else(|| self.node.place())
    }

    pub(crate) fn template(&self, word: &Word) -> Template {
        Template::new(word.text.clone(), self.span(word.range))
    }

    /// Reads the flags; `known` are those the instruction takes.
    pub(crate) fn flags(&self, known: &[(&'static str, Kind)]) -> Result<Flags, Problem> {
        Flags::read(self, known)
    }

    /// Returns the arguments as words, whichever form they are in.
    pub(crate) fn words(&self) -> Vec<Template> {
        match &self.arguments {
            Arguments::Words(words) => words.iter().map(|word| self.template(word)).collect(),
            Arguments::Json(strings, range) => {
                let span = self.span(*range);
                strings.iter().map(|string| Template::new(string.clone(), span)).collect()
            }
            Arguments::Text(word) | Arguments::Trigger(word) if !word.text.is_empty() => vec![self.template(word)],
            Arguments::Text(_) | Arguments::Trigger(_) | Arguments::Pairs(_) | Arguments::Typed(..) => Vec::new(),
        }
    }

    /// Returns the words, of which there must be at least one.
    pub(crate) fn some_words(&self) -> Result<Vec<Template>, Problem> {
        let words = self.words();
        if words.is_empty() {
            return Err(self.at_least_one());
        }
        Ok(words)
    }

    /// Returns the one argument, which is all of the text; the instruction takes no flags.
    pub(crate) fn only_argument(&self) -> Result<Template, Problem> {
        self.words().pop().ok_or_else(|| Problem::new(format!("{} requires exactly one argument", self.keyword)))
    }

    pub(crate) fn at_least_one(&self) -> Problem {
        Problem::new(format!("{} requires at least one argument", self.keyword))
    }

    /// Returns what the comment `# name …` above the instruction says.
    pub(crate) fn description(&self, name: &str) -> Option<String> {
        let said = |comment: &String| comment.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
        self.node.comments.iter().find_map(said).filter(|text| !text.is_empty() && !name.is_empty())
    }
}

/// Returns the diagnostic of `problem` in `node`, shown at `place` if that is given.
pub(crate) fn diagnose(problem: Problem, node: &Node<'_>, place: Option<Place>) -> Diagnostic {
    let mut diagnostic = problem.diagnose(node);
    if let Some(place) = place {
        diagnostic.span = place.span;
        diagnostic.lines = place.lines;
    }
    diagnostic
}
