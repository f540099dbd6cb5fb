//! Where the language is easily got wrong: comments, continuations, heredocs, JSON, flags.

use crate::{instruction, valid};
use rbuild_dockerfile::instruction::{CommandLine, Script};
use rbuild_dockerfile::{DirectiveName, Instruction, Keyword, detect_syntax, find_directive};

/// The joined text of the last instruction.
fn original(source: &str) -> String {
    let dockerfile = valid(source);
    dockerfile.stages[0].instructions.last().unwrap().original.clone()
}

fn script(source: &str) -> Script {
    match instruction(source) {
        Instruction::Run(run) => run.script(),
        other => panic!("{other:?}"),
    }
}

fn shell(text: &str) -> Script {
    Script::Shell(text.to_owned())
}

/// Section 14, trap 11.
// items: F005 F006 F007 F008 T11
#[test]
fn f006_f007_f008_continuations() {
    let rows = [
        ("RUN a \\\n  b", "RUN a   b"),
        ("RUN a\\\nb", "RUN ab"),
        ("RUN a \\  \t\nb", "RUN a b"),
        ("RUN a \\\n# c \\\n  # d\nb", "RUN a b"),
        ("RUN a \\\n\n \t\nb", "RUN a b"),
        ("RUN a \\\\\nRUN b", "RUN b"),
        ("RUN a \\\\\\\nRUN b", "RUN b"),
        ("RUN a \\\n\\\nb", "RUN a b"),
        ("RUN a \\", "RUN a"),
        ("RUN a \\\n b # c", "RUN a  b # c"),
        ("RUN a \\\r\n b\r\n", "RUN a  b"),
        ("  \tRUN a", "RUN a"),
        ("RU\\\nN a", "RUN a"),
    ];
    for (source, want) in rows {
        assert_eq!(original(&format!("FROM a\n{source}")), want, "{source:?}");
    }
    // A doubled token does not continue, and stays.
    assert_eq!(valid("FROM a\nRUN a \\\\\nRUN b").stages[0].instructions[0].original, "RUN a \\\\");
    assert_eq!(original("# escape=`\nFROM a\nRUN a `\n b\\"), "RUN a  b\\");
}

/// F005, F014: comments above an instruction are its own; an empty one starts anew.
// items: F005 F014
#[test]
fn f014_comments_above() {
    let dockerfile =
        valid("# escape=`\n# one\n\n#  two \n #three\nFROM a AS b\n# four\n#\n# five\n# b six\nFROM c AS B\nRUN x\n");
    // BuildKit takes one byte off the line, so that an indented comment keeps its `#`.
    assert_eq!(dockerfile.stages[0].comments, ["one", "two", "#three"]);
    assert_eq!(dockerfile.stages[1].comments, ["five", "b six"]);
    assert_eq!(dockerfile.stages[1].description.as_deref(), Some("six"));
    assert!(dockerfile.stages[1].instructions[0].comments.is_empty());
    let dockerfile = valid("# a first\n# b second\nARG a=1 b c\nFROM x\n");
    let described: Vec<_> =
        dockerfile.meta_args[0].arg.arguments.iter().map(|arg| arg.description.as_deref()).collect();
    assert_eq!(described, [Some("first"), Some("second"), None]);
}

// items: F001 F020 F021
#[test]
fn f020_f021_directives() {
    let rows: &[(&str, &[(&str, &str)])] = &[
        ("# syntax=a/b:1\n# escape=`\nFROM x", &[("Syntax", "a/b:1"), ("Escape", "`")]),
        ("#SYNTAX = a b  \nFROM x", &[("Syntax", "a b")]),
        ("# foo=bar\n# escape=`\nFROM x", &[]),
        ("\n# escape=`\nFROM x", &[]),
        ("# comment\n# escape=`\nFROM x", &[]),
        ("# syntax=a\n\n# escape=`\nFROM x", &[("Syntax", "a")]),
        ("#\n# escape=`\nFROM x", &[]),
        ("# escape =`\r\nFROM x", &[("Escape", "`")]),
        ("\u{feff}# escape=`\nFROM x", &[("Escape", "`")]),
        ("# syntax=\nFROM x", &[]),
    ];
    for (source, want) in rows {
        let found = valid(source).directives;
        let found: Vec<_> = found.iter().map(|d| (format!("{:?}", d.name), d.value.clone())).collect();
        let want: Vec<_> = want.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(found, want, "{source:?}");
    }
}

// items: F024
#[test]
fn f024_syntax_of_any_language() {
    let rows = [
        ("# syntax = a:b // opts\nFROM x", Some(("a:b", "a:b // opts", 1))),
        ("#!/bin/sh\n# syntax=a\n", Some(("a", "a", 2))),
        ("#!/bin/sh\n\n# syntax=a\n", None),
        ("//syntax=foo\n//x=y", Some(("foo", "foo", 1))),
        ("#!/bin/sh\n// syntax=x", Some(("x", "x", 2))),
        ("{\"syntax\": \"foo\", \"bar\": [\"abc\", {\"a\": 1e3}]}", Some(("foo", "foo", 1))),
        (" {\"a\": {\"syntax\": \"no\"}, \"syntax\": \"\\u0061\\ud83d\\ude00\"} ", Some(("a😀", "a😀", 1))),
        ("{\"syntax\": \"foo\"", None),
        ("{\"syntax\": 1}", None),
        ("{\"syntax\": \"foo\"}\n# syntax=bar", None),
        ("\u{feff}# syntax=a\nFROM x", Some(("a", "a", 1))),
        ("FROM x", None),
        ("", None),
    ];
    for (source, want) in rows {
        let found = detect_syntax(source);
        let found = found.as_ref().map(|found| (found.first_word(), found.value.as_str(), found.lines.start));
        assert_eq!(found, want, "{source:?}");
    }
    assert_eq!(find_directive(DirectiveName::Check, "//check=skip=all\n"), None);
}

// items: F009
#[test]
fn f009_keywords_in_any_case() {
    assert_eq!(Keyword::ALL.len(), 18);
    for keyword in Keyword::ALL {
        assert_eq!(Keyword::parse(&keyword.as_str().to_lowercase()), Some(keyword));
    }
    assert_eq!(valid("from a\nrUn x").stages[0].instructions[0].keyword, "rUn");
}

// items: F010
#[test]
fn f010_flags() {
    let rows: &[(&str, &str, &[&str])] = &[
        ("COPY --from=x --link a b", "x", &["a", "b"]),
        ("COPY --from=\"x\"y a b", "xy", &["a", "b"]),
        ("COPY --from='a b' a b", "a b", &["a", "b"]),
        ("COPY --from=a\\ b a b", "a b", &["a", "b"]),
        ("COPY --from=x -- --a b", "x", &["--a", "b"]),
        ("COPY --from=x a --b", "x", &["a", "--b"]),
        ("COPY --from=x\t\ta\tb", "x", &["a", "b"]),
        // Byte by byte: what is outside ASCII turns into the Latin-1 characters of its bytes.
        ("COPY --from=é a b", "Ã©", &["a", "b"]),
    ];
    for (line, from, words) in rows {
        let Instruction::Copy(copy) = instruction(line) else { panic!() };
        assert_eq!(copy.from.unwrap().text, *from, "{line}");
        let mut got: Vec<&str> = copy.sources.paths.iter().map(|path| path.text.as_str()).collect();
        got.push(&copy.sources.destination.text);
        assert_eq!(got, *words, "{line}");
    }
    // Flags are not looked at here.
    assert!(matches!(instruction("STOPSIGNAL --x KILL"), Instruction::StopSignal(_)));
    assert!(matches!(instruction("ARG --x a"), Instruction::Arg(_)));
    assert!(matches!(instruction("HEALTHCHECK --interval=x NONE"), Instruction::Healthcheck(_)));
}

// items: F030 F031 F032
#[test]
fn f030_f031_f032_heredoc_words() {
    let heredocs = |line: &str| -> Vec<(String, bool, bool)> {
        let source = format!("FROM a\n{line}\nEOF\n");
        let (ast, _) = rbuild_dockerfile::parse(&source);
        let node = ast.nodes().nth(1).unwrap();
        node.heredocs.iter().map(|doc| (doc.name.clone(), doc.expand, doc.chomp)).collect()
    };
    let one = |expand, chomp| vec![("EOF".to_owned(), expand, chomp)];
    let rows = [
        ("RUN <<EOF", one(true, false)),
        ("RUN << EOF", one(true, false)),
        ("RUN <<-EOF", one(true, true)),
        ("RUN 3<<EOF", one(true, false)),
        ("RUN <<'EOF'", one(false, false)),
        ("RUN <<\"EOF\"", one(false, false)),
        ("RUN <<E'O'F", one(false, false)),
        ("RUN cat <<EOF | sort", one(true, false)),
        ("COPY <<EOF /x", one(true, false)),
        ("ONBUILD COPY <<EOF /x", one(true, false)),
        ("RUN <<<EOF", vec![]),
        ("RUN a<<EOF", vec![]),
        ("RUN \"<<EOF\"", vec![]),
        ("RUN '<<EOF'", vec![]),
        ("RUN \\<<EOF", vec![]),
        ("RUN [\"<<EOF\"]", vec![]),
        ("RUN don't <<EOF", vec![]),
        ("CMD <<EOF", vec![]),
        ("ONBUILD ONBUILD RUN <<EOF", vec![]),
        ("RUN <<", vec![]),
        ("RUN ${X:-y}z <<EOF", one(true, false)),
    ];
    for (line, want) in rows {
        assert_eq!(heredocs(line), want, "{line}");
    }
}

// items: F002 F033 F034 F035
#[test]
fn f033_f034_f035_heredoc_bodies() {
    let Instruction::Copy(copy) = instruction("COPY <<A <<-'B' c /x\n A\nA \n\tA\nA\n\t\tb\n\tc\n\tB\n") else {
        panic!()
    };
    let files: Vec<_> = copy.sources.files.iter().map(|f| (f.name.as_str(), f.content.as_str(), f.expand)).collect();
    assert_eq!(files, [("A", " A\nA \n\tA\n", true), ("B", "b\nc\n", false)]);
    assert_eq!(copy.sources.paths[0].text, "c");
    // Line endings in bodies stay, and do not hide the end.
    let Instruction::Copy(copy) = instruction("COPY <<A /x\r\nb\r\nA\r\n") else { panic!() };
    assert_eq!(copy.sources.files[0].content, "b\r\n");
    // Comments, continuations and directives in a body are plain text.
    let Instruction::Copy(copy) = instruction("COPY <<A /x\n# c\nd \\\nA\n") else { panic!() };
    assert_eq!(copy.sources.files[0].content, "# c\nd \\\n");
    // The end may be the end of the file.
    assert!(matches!(instruction("COPY <<A /x\nA"), Instruction::Copy(_)));
}

// items: F035 F038 F039 F040
#[test]
fn f038_f039_f040_scripts() {
    assert_eq!(
        script("RUN <<EOF\n#!/bin/sh\nls\nEOF"),
        Script::File { name: "EOF".into(), content: "#!/bin/sh\nls\n".into() }
    );
    assert_eq!(
        script("RUN <<-EOF\n\t#!/bin/sh\n\tls\nEOF"),
        Script::File { name: "EOF".into(), content: "#!/bin/sh\nls\n".into() }
    );
    assert_eq!(script("RUN <<EOF\nls $x\nEOF"), shell("ls $x\n"));
    assert_eq!(script("RUN <<-EOF\n\tls\nEOF"), shell("ls\n"));
    assert_eq!(script("RUN cat <<A - <<B\n1\nA\n2\nB"), shell("cat <<A - <<B\n1\nA\n2\nB"));
    assert_eq!(script("RUN <<-'A' python\n\tx\nA"), shell("<<-'A' python\n\tx\nA"));
    assert_eq!(script("RUN echo <<<x"), shell("echo <<<x"));
    assert_eq!(script("RUN [\"a\", \"<<EOF\"]"), Script::Exec(vec!["a".into(), "<<EOF".into()]));
    assert_eq!(script("RUN"), shell(""));
}

// items: F041
#[test]
fn f041_i011_triggers() {
    let trigger = |line: &str| match instruction(line) {
        Instruction::Onbuild(onbuild) => onbuild.trigger,
        other => panic!("{other:?}"),
    };
    assert_eq!(trigger("ONBUILD  RUN echo  a"), "RUN echo  a");
    assert_eq!(trigger("onbuild run \\\n  a"), "run   a");
    assert_eq!(trigger("ONBUILD COPY --from=x a b"), "COPY --from=x a b");
    assert_eq!(trigger("ONBUILD COPY <<A <<B /x\n1\nA\n2\nB"), "COPY <<A <<B /x\n1\nA\n2\nB");
    assert_eq!(trigger("ONBUILD FOO x"), "FOO x");
}

// items: F045 F047
#[test]
fn f045_f046_f047_json() {
    let exec = |words: &[&str]| CommandLine::Exec(words.iter().map(|word| (*word).to_owned()).collect());
    let text = |text: &str| CommandLine::Shell(text.to_owned());
    let rows = [
        ("[\"a\", \"b c\"]", exec(&["a", "b c"])),
        ("  [ \"a\" ]  ", exec(&["a"])),
        ("[]", exec(&[])),
        ("[ ]", exec(&[])),
        ("[]random string", text("[]random string")),
        ("['a']", text("['a']")),
        ("[\"a\", ]", text("[\"a\", ]")),
        ("[\"a\"", text("[\"a\"")),
        ("[\"a\" \"b\"]", text("[\"a\" \"b\"]")),
        ("[\"a\\x\"]", text("[\"a\\x\"]")),
        ("[\"\\u00e9\\n\\ud800\"]", exec(&["é\n\u{fffd}"])),
        ("[1,]", text("[1,]")),
        ("[01]", text("[01]")),
        ("a [\"b\"]", text("a [\"b\"]")),
        ("", text("")),
    ];
    for (arguments, want) in rows {
        let Instruction::Cmd(cmd) = instruction(&format!("CMD {arguments}")) else { panic!() };
        assert_eq!(cmd.command, want, "{arguments}");
        let Instruction::Entrypoint(entrypoint) = instruction(&format!("ENTRYPOINT {arguments}")) else { panic!() };
        assert_eq!(entrypoint.command, want, "{arguments}");
    }
    let Instruction::Copy(copy) = instruction("COPY --link [\"a b\", \"c d/\"]") else { panic!() };
    assert_eq!((copy.sources.paths[0].text.as_str(), copy.sources.destination.text.as_str()), ("a b", "c d/"));
    let Instruction::Volume(volume) = instruction("VOLUME /a /b") else { panic!() };
    assert_eq!(volume.paths.len(), 2);
}

// items: A001 A013
#[test]
fn a001_a013_pairs() {
    let pairs = |line: &str| -> Vec<(String, String, bool)> {
        let variables = match instruction(line) {
            Instruction::Env(env) => env.variables,
            Instruction::Label(label) => label.labels,
            other => panic!("{other:?}"),
        };
        variables.into_iter().map(|pair| (pair.key.text, pair.value.text, pair.legacy)).collect()
    };
    let rows: &[(&str, &[(&str, &str)])] = &[
        ("a=b c=d", &[("a", "b"), ("c", "d")]),
        ("a=\"b c\" d='e f'", &[("a", "\"b c\""), ("d", "'e f'")]),
        ("a=b\\ c", &[("a", "b\\ c")]),
        ("a= b==c", &[("a", ""), ("b", "=c")]),
        ("a=\"\\\"b\"", &[("a", "\"\\\"b\"")]),
        ("a='b\\' c=d", &[("a", "'b\\'"), ("c", "d")]),
        ("a=b\\\\", &[("a", "b\\\\")]),
        ("\"a b\"=c", &[("\"a b\"", "c")]),
        ("a=foo%sbar", &[("a", "foo%sbar")]),
    ];
    for (arguments, want) in rows {
        let want: Vec<_> = want.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned(), false)).collect();
        assert_eq!(pairs(&format!("ENV {arguments}")), want, "{arguments}");
        assert_eq!(pairs(&format!("LABEL {arguments}")), want, "{arguments}");
    }
    assert_eq!(pairs("ENV a b  c=d"), [("a".to_owned(), "b  c=d".to_owned(), true)]);
    let Instruction::Arg(arg) = instruction("ARG a b=\"c d\" e=") else { panic!() };
    let got: Vec<_> = arg
        .arguments
        .iter()
        .map(|arg| (arg.name.text.as_str(), arg.default.as_ref().map(|d| d.text.as_str())))
        .collect();
    assert_eq!(got, [("a", None), ("b", Some("\"c d\"")), ("e", Some(""))]);
}

// items: G001 G002
#[test]
fn g001_g002_stages() {
    let dockerfile = valid("ARG v=1\nFROM --platform=$P a:$v aS Base\nFROM base\n");
    let stage = &dockerfile.stages[0];
    assert_eq!((stage.name.as_deref(), stage.base.text.as_str()), (Some("base"), "a:$v"));
    assert_eq!((stage.platform.as_ref().unwrap().text.as_str(), stage.as_keyword.as_deref()), ("$P", Some("aS")));
    assert_eq!(dockerfile.stage_named("BASE"), Some(0));
    assert_eq!(dockerfile.meta_args.len(), 1);
}

#[test]
fn i004_i008_i010_metadata() {
    use rbuild_dockerfile::instruction::StopSignal;
    for signal in ["SIGKILL", "kill", "9", "RTMIN+3", "SIGRTMAX-14", "-1", "rtmin"] {
        assert!(StopSignal::is_valid(signal), "{signal}");
    }
    for signal in ["", "0", "FOO", "RTMIN+16", "RTMIN+", "RTMIN++1", "RTMAX-15", "SIG", "RTMIN+0"] {
        assert!(!StopSignal::is_valid(signal), "{signal}");
    }
    let Instruction::Healthcheck(check) = instruction("HEALTHCHECK --interval=1m30s --retries=3 cmd curl x") else {
        panic!()
    };
    assert_eq!(check.test_words(), ["CMD-SHELL", "curl x"]);
    assert_eq!((check.interval.as_secs(), check.retries, check.timeout.as_nanos()), (90, 3, 0));
    let Instruction::Healthcheck(check) = instruction("HEALTHCHECK CMD [\"a\", \"b\"]") else { panic!() };
    assert_eq!(check.test_words(), ["CMD", "a", "b"]);
    let Instruction::Expose(expose) = instruction("EXPOSE 80 443/udp $X") else { panic!() };
    let ports: Vec<_> = expose.ports.iter().map(|port| port.text.as_str()).collect();
    assert_eq!(ports, ["$X", "443/udp", "80"]);
    let Instruction::User(user) = instruction("USER a b") else { panic!() };
    assert_eq!(user.user.text, "a b");
}
