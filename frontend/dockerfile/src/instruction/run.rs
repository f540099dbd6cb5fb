//! `RUN [flags] command`

use super::sources::check_file_name;
use super::{CommandLine, Device, MountFlag};
use crate::ast::Heredoc;
use crate::flags::{Flags, Kind};
use crate::heredoc;
use crate::literal::quote;
use crate::problem::Problem;
use crate::request::Request;
use crate::source::{Span, Template};
use crate::suggest;

/// Runs a command and keeps what it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The command; the builder never expands it.
    pub command: CommandLine,
    /// The heredocs of the command, in order; see [`Run::script`].
    pub heredocs: Vec<HereFile>,
    /// `--mount`, repeatable.
    pub mounts: Vec<MountFlag>,
    /// `--network`
    pub network: Network,
    /// Whether `--network` was written.
    pub network_given: bool,
    /// `--security`
    pub security: Security,
    /// `--device`, repeatable.
    pub devices: Vec<Device>,
}

/// The body of a heredoc of `RUN`, unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HereFile {
    /// The heredoc word.
    pub name: String,
    /// The body with its line endings.
    pub content: String,
    /// Whether it was `<<-`.
    pub chomp: bool,
    /// The bytes of the body in the source.
    pub span: Span,
}

/// Network of a `RUN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs)]
pub enum Network {
    #[default]
    Default,
    None,
    Host,
}

/// Security mode of a `RUN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs)]
pub enum Security {
    #[default]
    Sandbox,
    Insecure,
}

/// What a `RUN` really gives to the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script {
    /// The words of the exec form.
    Exec(Vec<String>),
    /// A text for the shell of the stage: the shell form, a lone heredoc's body, or command and heredocs put
    /// together again for the shell to read.
    Shell(String),
    /// A lone heredoc that begins with `#!`: written as an executable file, mounted read-only in `/dev/pipes`,
    /// and its path given to the shell of the stage.
    File {
        /// The file's name.
        name: String,
        /// The file's content.
        content: String,
    },
}

impl Network {
    /// Returns the word for `--network=`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::None => "none",
            Self::Host => "host",
        }
    }

    const ALL: [Self; 3] = [Self::Default, Self::None, Self::Host];

    fn parse(word: &str) -> Result<Self, Problem> {
        Self::ALL.into_iter().find(|network| network.as_str() == word).ok_or_else(|| {
            let near = suggest::nearest(word, Self::ALL.map(Self::as_str), true);
            Problem::new(format!("invalid network mode {}", quote(word))).suggest(near)
        })
    }
}

impl Security {
    /// Returns the word for `--security=`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Insecure => "insecure",
        }
    }

    const ALL: [Self; 2] = [Self::Sandbox, Self::Insecure];

    fn parse(word: &str) -> Result<Self, Problem> {
        Self::ALL.into_iter().find(|security| security.as_str() == word).ok_or_else(|| {
            let near = suggest::nearest(word, Self::ALL.map(Self::as_str), true);
            Problem::new(format!("security {} is not valid", quote(word))).suggest(near)
        })
    }
}

impl Run {
    /// Returns what the sandbox gets, heredocs worked in.
    ///
    /// A lone heredoc (`RUN <<EOF`) is the script itself; with anything beside it (`RUN <<EOF cat`) command and
    /// bodies are put together again and the shell reads the heredocs.
    pub fn script(&self) -> Script {
        let text = match &self.command {
            CommandLine::Exec(words) => return Script::Exec(words.clone()),
            CommandLine::Shell(text) => text,
        };
        let Some(first) = self.heredocs.first() else { return Script::Shell(text.clone()) };
        if heredoc::is_word(text) {
            let content = if first.chomp { heredoc::chomp(&first.content) } else { first.content.clone() };
            return if content.starts_with("#!") {
                Script::File { name: first.name.clone(), content }
            } else {
                Script::Shell(content)
            };
        }
        let mut script = text.clone();
        for file in &self.heredocs {
            script.push('\n');
            script.push_str(&file.content);
            script.push_str(&file.name);
        }
        Script::Shell(script)
    }
}

/// The most mounts of a `RUN`.
pub const MAX_MOUNTS: usize = 1000;

const FLAGS: [(&str, Kind); 4] =
    [("device", Kind::List), ("mount", Kind::List), ("network", Kind::Text), ("security", Kind::Text)];

impl Run {
    pub(crate) fn read(request: &Request<'_>) -> Result<Self, Problem> {
        let flags = request.flags(&FLAGS)?;
        let run = Self {
            command: CommandLine::read(&request.arguments),
            heredocs: request.node.heredocs.iter().map(|heredoc| here_file(request, heredoc)).collect(),
            devices: devices(request, &flags)?,
            mounts: mounts(request, &flags)?,
            network: match flags.text("network") {
                Some((word, range)) => Network::parse(word).map_err(|problem| problem.at(range))?,
                None => Network::default(),
            },
            network_given: flags.is_given("network"),
            security: match flags.text("security") {
                Some((word, range)) => Security::parse(word).map_err(|problem| problem.at(range))?,
                None => Security::default(),
            },
        };
        if let Script::File { name, .. } = run.script() {
            check_file_name(&name)?;
        }
        Ok(run)
    }
}

fn here_file(request: &Request<'_>, heredoc: &Heredoc) -> HereFile {
    HereFile {
        name: heredoc.name.clone(),
        content: heredoc.body.slice(request.source).to_owned(),
        chomp: heredoc.chomp,
        span: request.shown(heredoc.body),
    }
}

fn devices(request: &Request<'_>, flags: &Flags) -> Result<Vec<Device>, Problem> {
    let read = |(text, range): (Template, Span)| {
        Device::parse(&text.text).map_err(|error| {
            let suggestion = error.suggestion().map(str::to_owned);
            Problem::new(error.to_string()).suggest(suggestion).at(range)
        })
    };
    flags.list("device", request).into_iter().map(read).collect()
}

fn mounts(request: &Request<'_>, flags: &Flags) -> Result<Vec<MountFlag>, Problem> {
    let read = |(text, range): (Template, Span)| {
        MountFlag::parse(text).map_err(|error| {
            let suggestion = error.suggestion().map(str::to_owned);
            Problem::new(error.to_string()).suggest(suggestion).at(range)
        })
    };
    let flags = flags.list("mount", request);
    if let Some((_, range)) = flags.get(MAX_MOUNTS) {
        return Err(Problem::new(format!("RUN has more than the limit of {MAX_MOUNTS} mounts")).at(*range));
    }
    flags.into_iter().map(read).collect()
}
