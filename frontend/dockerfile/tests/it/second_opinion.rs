//! What another parser makes of the part of the language it knows: no heredocs, no other escape token, one name for
//! each `ARG`.

use crate::valid;
use dockerfile_parser::{BreakableString, BreakableStringComponent, Instruction as Theirs, ShellOrExecExpr};
use proptest::prelude::*;
use rbuild_dockerfile::instruction::CommandLine;
use rbuild_dockerfile::{Environment, Instruction, Lexer, Statement, Template};
use std::path::{Path, PathBuf};

/// A keyword and its arguments, blanks told apart no further than words.
type Said = (String, Vec<String>);

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn joined(text: &BreakableString) -> String {
    let parts = text.components.iter().filter_map(|component| match component {
        BreakableStringComponent::String(text) => Some(text.content.as_str()),
        BreakableStringComponent::Comment(_) => None,
    });
    words(&parts.collect::<String>())
}

fn their_command(command: &ShellOrExecExpr) -> Vec<String> {
    match command {
        ShellOrExecExpr::Shell(text) => vec![joined(text)],
        ShellOrExecExpr::Exec(words) => {
            std::iter::once("exec".to_owned()).chain(words.elements.iter().map(|word| word.content.clone())).collect()
        }
    }
}

fn theirs(instruction: &Theirs) -> Said {
    let (keyword, arguments): (&str, Vec<String>) = match instruction {
        Theirs::From(from) => {
            let flags = from.flags.iter().map(|flag| format!("--{}={}", flag.name.content, flag.value.content));
            let name = from.alias.iter().map(|name| name.content.to_lowercase());
            ("FROM", flags.chain([from.image.content.clone()]).chain(name).collect())
        }
        Theirs::Arg(arg) => {
            ("ARG", [&arg.name].into_iter().chain(&arg.value).map(|text| text.content.clone()).collect())
        }
        Theirs::Label(label) => (
            "LABEL",
            label.labels.iter().map(|pair| format!("{}={}", pair.name.content, words(&pair.value.content))).collect(),
        ),
        Theirs::Env(env) => {
            ("ENV", env.vars.iter().map(|pair| format!("{}={}", pair.key.content, joined(&pair.value))).collect())
        }
        Theirs::Run(run) => ("RUN", their_command(&run.expr)),
        Theirs::Cmd(cmd) => ("CMD", their_command(&cmd.expr)),
        Theirs::Entrypoint(entrypoint) => ("ENTRYPOINT", their_command(&entrypoint.expr)),
        Theirs::Copy(copy) => {
            let flags = copy.flags.iter().map(|flag| format!("--{}={}", flag.name.content, flag.value.content));
            let mut flags: Vec<String> = flags.collect();
            flags.sort();
            let paths = copy.sources.iter().chain([&copy.destination]).map(|path| path.content.clone());
            ("COPY", flags.into_iter().chain(paths).collect())
        }
        Theirs::Misc(other) => (other.instruction.content.as_str(), vec![joined(&other.arguments)]),
    };
    (keyword.to_uppercase(), arguments)
}

/// Variables that stay as they are written.
struct Kept;

impl Environment for Kept {
    fn get(&self, name: &str) -> Option<&str> {
        ["$A", "$B", "$VERSION"].into_iter().find(|variable| &variable[1..] == name)
    }
}

fn plain(template: &Template) -> String {
    Lexer::new('\\').word(&template.text, &Kept).expect("nothing is wrong with it").value
}

fn our_command(statement: &Statement, command: &CommandLine) -> Vec<String> {
    match command {
        // The other parser takes flags for the beginning of a command.
        CommandLine::Exec(words) if !behind_keyword(statement).starts_with("--") => {
            std::iter::once("exec".to_owned()).chain(words.iter().cloned()).collect()
        }
        _ => vec![behind_keyword(statement)],
    }
}

fn behind_keyword(statement: &Statement) -> String {
    words(&statement.original[statement.keyword.len()..])
}

fn ours(statement: &Statement) -> Said {
    let pair = |(key, value): (&Template, &Template)| format!("{}={}", plain(key), words(&plain(value)));
    let arguments = match &statement.instruction {
        Instruction::Arg(arg) => {
            let all = arg.arguments.iter().flat_map(|arg| [Some(&arg.name), arg.default.as_ref()]);
            all.flatten().map(plain).collect()
        }
        Instruction::Label(label) => label.labels.iter().map(|label| pair((&label.key, &label.value))).collect(),
        Instruction::Env(env) => env.variables.iter().map(|variable| pair((&variable.key, &variable.value))).collect(),
        Instruction::Run(run) => our_command(statement, &run.command),
        Instruction::Cmd(cmd) => our_command(statement, &cmd.command),
        Instruction::Entrypoint(entrypoint) => our_command(statement, &entrypoint.command),
        Instruction::Copy(copy) => {
            let flags = [("chmod", &copy.chmod), ("chown", &copy.chown), ("from", &copy.from)];
            let given = flags.iter().filter_map(|(name, value)| Some(format!("--{name}={}", value.as_ref()?.text)));
            let paths = copy.sources.paths.iter().chain([&copy.sources.destination]).map(|path| path.text.clone());
            given.chain(paths).collect()
        }
        _ => vec![behind_keyword(statement)],
    };
    (statement.keyword.to_uppercase(), arguments)
}

fn all_ours(source: &str) -> Vec<Said> {
    let dockerfile = valid(source);
    let mut all: Vec<Said> = dockerfile
        .meta_args
        .iter()
        .flat_map(|meta| &meta.arg.arguments)
        .map(|arg| {
            ("ARG".to_owned(), [Some(&arg.name), arg.default.as_ref()].into_iter().flatten().map(plain).collect())
        })
        .collect();
    for stage in &dockerfile.stages {
        let platform = stage.platform.iter().map(|platform| format!("--platform={}", platform.text));
        let base = platform.chain([stage.base.text.clone()]).chain(stage.name.clone());
        all.push(("FROM".to_owned(), base.collect()));
        all.extend(stage.instructions.iter().map(ours));
    }
    all
}

fn agree(source: &str) {
    let parsed = dockerfile_parser::Dockerfile::parse(source).unwrap_or_else(|error| panic!("{source}\n{error}"));
    let theirs: Vec<Said> = parsed.instructions.iter().map(theirs).collect();
    assert_eq!(all_ours(source), theirs, "{source}");
}

fn line() -> impl Strategy<Value = String> {
    let word = "[a-z][a-z0-9./_-]{0,8}";
    let value = prop_oneof![
        "[a-z0-9./:@%+-]{1,10}".boxed(),
        "\"[a-z ]{1,10}\"".boxed(),
        "'[a-z ]{1,10}'".boxed(),
        "[a-z]{0,4}\\$(A|B|VERSION)".boxed(),
    ];
    let name = "[A-Z][A-Z0-9_]{0,6}";
    let gap = || prop_oneof![4 => Just(" "), 1 => Just("\t "), 1 => Just(" \\\n  "), 1 => Just(" \\\n# why\n  ")];
    let command = prop_oneof![
        prop::collection::vec((word, gap()), 1..5).prop_map(|parts| parts
            .iter()
            .map(|(word, gap)| format!("{word}{gap}"))
            .collect::<String>()
            + "end"),
        prop::collection::vec("[a-z $/-]{0,6}", 1..4).prop_map(|words| format!("{words:?}")),
    ];
    prop_oneof![
        (prop_oneof![Just("RUN"), Just("run"), Just("Cmd"), Just("ENTRYPOINT")], command.clone())
            .prop_map(|(keyword, command)| format!("{keyword} {command}")),
        (name, value.clone(), gap()).prop_map(|(name, value, gap)| format!("ARG{gap}{name}={value}")),
        name.prop_map(|name| format!("ARG {name}")),
        (prop_oneof![Just("ENV"), Just("env"), Just("LABEL")], prop::collection::vec((gap(), name, value), 1..4))
            .prop_map(|(keyword, pairs)| keyword.to_owned()
                + &pairs.iter().map(|(gap, name, value)| format!("{gap}{name}={value}")).collect::<String>()),
        (
            prop::option::of("--from=[a-z]{1,5} "),
            prop::option::of("--chown=[a-z]{1,5} "),
            prop::collection::vec((word, gap()), 1..4)
        )
            .prop_map(|(from, chown, paths)| format!(
                "COPY {}{}{}/to",
                from.unwrap_or_default(),
                chown.unwrap_or_default(),
                paths.iter().map(|(path, gap)| format!("{path}{gap}")).collect::<String>()
            )),
        (prop_oneof![Just("WORKDIR"), Just("USER"), Just("volume")], word)
            .prop_map(|(keyword, word)| format!("{keyword} /{word}")),
        ("[a-z]{1,6}(:[0-9.]{1,3}[0-9])?", prop::option::of("[a-z][a-z0-9-]{0,5}")).prop_map(|(image, name)| format!(
            "FROM {image}{}",
            name.map(|name| format!(" AS {name}")).unwrap_or_default()
        )),
        Just("# a comment".to_owned()),
        Just(String::new()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn another_parser_agrees(lines in prop::collection::vec(line(), 0..12)) {
        agree(&format!("ARG VERSION=1\nFROM scratch\n{}\n", lines.join("\n")));
    }
}

/// The Dockerfiles of tests and examples that are in the common part.
#[test]
fn another_parser_agrees_on_real_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut folders: Vec<PathBuf> = ["examples", "frontend/dockerfile/testdata/ok", "frontend/lower/testdata"]
        .map(|folder| root.join(folder))
        .into();
    let mut agreed = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.file_name().is_none_or(|name| name != "Dockerfile") {
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap();
            // A doubled escape token at the end of a line, too, is something the other parser does not know.
            let unknown = ["<<", "escape=", "\\\\\n"].iter().any(|text| source.contains(text));
            if unknown || dockerfile_parser::Dockerfile::parse(&source).is_err() {
                continue;
            }
            agree(&source);
            agreed += 1;
        }
    }
    assert!(agreed >= 8, "{agreed} files are in the common part");
}
