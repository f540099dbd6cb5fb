//! The command line as a tree of types; `rbuild -t app .` means `rbuild build -t app .`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::command;

/// Build, push and run container images: one binary, no daemon
#[derive(Debug, Parser)]
#[command(
    name = "rbuild",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "`rbuild -t app .` is short for `rbuild build -t app .`"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command knows.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Global {
    /// Directory of the store [default: /var/lib/rbuild, rootless $XDG_DATA_HOME/rbuild]
    #[arg(long, global = true, env = "RBUILD_ROOT", value_name = "DIR", hide_env_values = true)]
    pub(crate) root: Option<PathBuf>,
    /// Say more: all about each warning; and when something fails, what is needed to report it
    #[arg(long, short = 'D', global = true)]
    pub(crate) debug: bool,
    /// Directory of the client configuration, with credentials [default: ~/.docker]
    #[arg(long, global = true, env = "DOCKER_CONFIG", value_name = "DIR", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Build(Box<command::build::Args>),
    Check(command::check::Args),
    Explain(Box<command::explain::Args>),
    Run(Box<command::run::Args>),
    Images(command::images::Args),
    Rmi(command::rmi::Args),
    Tag(command::tag::Args),
    Pull(command::pull::Args),
    Push(command::push::Args),
    Save(command::save::Args),
    Load(command::load::Args),
    Inspect(command::inspect::Args),
    History(command::history::Args),
    Login(command::login::Args),
    Logout(command::logout::Args),
    Du(command::du::Args),
    Prune(command::prune::Args),
    Serve(Box<command::serve::Args>),
    DialStdio(command::dial_stdio::Args),
    Version(command::version::Args),
    Info(command::info::Args),
    Completion(command::completion::Args),
}

/// The names a first word may have without meaning a context.
const COMMANDS: &[&str] = &[
    "build",
    "check",
    "explain",
    "run",
    "images",
    "rmi",
    "tag",
    "pull",
    "push",
    "save",
    "load",
    "inspect",
    "history",
    "login",
    "logout",
    "du",
    "prune",
    "serve",
    "dial-stdio",
    "version",
    "info",
    "completion",
    "help",
];

/// Inserts `build` where the first word after the global flags is neither a command nor a flag of
/// the program itself.
pub(crate) fn with_default_command(mut args: Vec<OsString>) -> Vec<OsString> {
    let at = command_index(&args);
    let Some(word) = args.get(at) else { return args };
    let ours = word
        .to_str()
        .is_some_and(|word| COMMANDS.contains(&word) || matches!(word, "-h" | "--help" | "-V" | "--version"));
    if !ours && (word.to_str().is_some_and(|word| word.starts_with('-')) || looks_like_context(word)) {
        args.insert(at, "build".into());
    }
    args
}

/// Returns the arguments of another program, its name first, if we are called by its name or as `rbuild NAME`.
pub(crate) fn called_as(args: &[OsString], name: &str) -> Option<Vec<OsString>> {
    let is = |word: &OsString| std::path::Path::new(word).file_name().is_some_and(|file| file == name);
    match args {
        [own, ..] if is(own) => Some(args.to_vec()),
        [_, word, ..] if word == name => Some(args[1..].to_vec()),
        _ => None,
    }
}

/// Returns the first word after the global flags.
pub(crate) fn command(args: &[OsString]) -> Option<&OsString> {
    args.get(command_index(args))
}

fn command_index(args: &[OsString]) -> usize {
    let mut at = 1;
    while let Some(word) = args.get(at).and_then(|word| word.to_str()) {
        match word {
            "--root" | "--config" => at += 2,
            "--debug" | "-D" => at += 1,
            _ if word.starts_with("--root=") || word.starts_with("--config=") => at += 1,
            _ => break,
        }
    }
    at
}

/// Whether a first word that is no command can be a build context; otherwise it is a typing error,
/// about which clap says more.
fn looks_like_context(word: &OsString) -> bool {
    let text = word.to_string_lossy();
    text == "-"
        || text.contains('/')
        || text.contains("://")
        || text.starts_with('.')
        || std::path::Path::new(word).is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn check(given: &str, expected: &str) {
        let words = given.split_whitespace().map(OsString::from).collect();
        let got = with_default_command(words);
        let got: Vec<_> = got.iter().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(got.join(" "), expected);
    }

    #[test]
    fn build_is_the_default_command() {
        check("rbuild -t app .", "rbuild build -t app .");
        check("rbuild .", "rbuild build .");
        check("rbuild --root /x -t app .", "rbuild --root /x build -t app .");
        check("rbuild --root=/x -D .", "rbuild --root=/x -D build .");
        check("rbuild -", "rbuild build -");
        check("rbuild build .", "rbuild build .");
        check("rbuild images", "rbuild images");
        check("rbuild imags", "rbuild imags");
        check("rbuild --help", "rbuild --help");
        check("rbuild", "rbuild");
    }

    #[test]
    fn other_programs_are_called_by_their_names() {
        let words = |text: &str| -> Vec<OsString> { text.split_whitespace().map(OsString::from).collect() };
        for (given, expected) in [
            ("/usr/bin/buildkitd --debug", Some("/usr/bin/buildkitd --debug")),
            ("rbuild buildkitd --addr x", Some("buildkitd --addr x")),
            ("rbuild build buildkitd", None),
            ("buildctl debug workers", None),
        ] {
            assert_eq!(called_as(&words(given), "buildkitd"), expected.map(words), "{given}");
        }
    }

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
        let named: Vec<_> = Cli::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
        assert!(named.iter().all(|name| COMMANDS.contains(&name.as_str())), "{named:?}");
    }
}
