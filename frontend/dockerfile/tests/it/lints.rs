//! The lint rules: section 12, F026-F028, L001-L003.

use crate::valid;
use rbuild_dockerfile::instruction::Port;
use rbuild_dockerfile::lint::{At, OnceTracker, RULES};
use rbuild_dockerfile::{CheckOptions, Dockerfile, Instruction, Lexer, Linter, Statement, parse};
use std::collections::BTreeMap;

/// Lints what the file alone decides.
fn check(source: &str, want: &[&str]) {
    let dockerfile = valid(source);
    let mut linter = Linter::new(dockerfile.check.clone());
    linter.file(&parse(source).0, &dockerfile);
    assert_eq!(texts(&linter), want, "{source:?}");
}

/// Lints with `run`.
fn check_with(source: &str, run: impl FnOnce(&mut Linter, &Dockerfile), want: &[&str]) {
    let dockerfile = valid(source);
    let mut linter = Linter::new(dockerfile.check.clone());
    run(&mut linter, &dockerfile);
    assert_eq!(texts(&linter), want, "{source:?}");
}

fn texts(linter: &Linter) -> Vec<String> {
    linter.diagnostics().iter().map(ToString::to_string).collect()
}

fn each(dockerfile: &Dockerfile) -> impl Iterator<Item = &Statement> {
    dockerfile.stages.iter().flat_map(|stage| &stage.instructions)
}

#[test]
fn names_and_casing() {
    check("FROM a AS Base\n", &["StageNameCasing: Stage name 'Base' should be lowercase (line 1)"]);
    check("FROM a as base\n", &["FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)"]);
    check("from a AS base\n", &["FromAsCasing: 'AS' and 'from' keywords' casing do not match (line 1)"]);
    check("from a as base\n", &[]);
    check(
        "From a as base\n",
        &[
            "ConsistentInstructionCasing: Command 'From' should match the case of the command majority (uppercase) (line 1)",
        ],
    );
    check(
        "FROM a\nrun b\nCopy c d\nrun e\n",
        &[
            "ConsistentInstructionCasing: Command 'FROM' should match the case of the command majority (lowercase) (line 1)",
            "ConsistentInstructionCasing: Command 'Copy' should match the case of the command majority (lowercase) (line 3)",
        ],
    );
    check("arg a\nFROM a\n", &[]);
    check(
        "FROM a AS b\nFROM a AS B\n",
        &[
            "StageNameCasing: Stage name 'B' should be lowercase (line 2)",
            "DuplicateStageName: Duplicate stage name \"b\", stage names should be unique (line 2)",
        ],
    );
    check(
        "FROM a AS scratch\nFROM a AS context\n",
        &[
            "ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\" (line 1)",
            "ReservedStageName: Stage name should not use the same name as reserved stage \"context\" (line 2)",
        ],
    );
}

// items: F006
#[test]
fn f006_empty_continuation_and_maintainer() {
    let empty = |line| format!("NoEmptyContinuation: Empty continuation line (line {line})");
    check("FROM a\nRUN b \\\n\n  c \\\n \n  d\nRUN e\n", &[&empty(6)]);
    check("FROM a\nRUN b \\\n# c\n  d\n", &[]);
    check("FROM a\nCOPY <<E \\\n\n  /d\n\nE\n", &[&empty(4)]);
    check(
        "FROM a\nMAINTAINER me\n",
        &["MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)"],
    );
}

#[test]
fn definition_descriptions_are_experimental() {
    let on = "# check=experimental=InvalidDefinitionDescription\n";
    check("# foo\nFROM a AS b\n", &[]);
    check(&format!("{on}# b is it\nFROM a AS b\n# c x\nARG c d\n"), &[]);
    check(
        &format!("{on}# foo\nARG x\n# bar\nFROM a AS b\n# baz\nARG c d\n# none\nRUN e\n"),
        &[
            "InvalidDefinitionDescription: Comment for ARG should follow the format: `# x <description>` (line 3)",
            "InvalidDefinitionDescription: Comment for FROM should follow the format: `# b <description>` (line 5)",
            "InvalidDefinitionDescription: Comment for ARG should follow the format: `# <arg_key> <description>` (line 7)",
        ],
    );
    // F014: an empty comment line ends the block.
    check(&format!("{on}# foo\n#\nFROM a AS b\n"), &[]);
}

// items: F026 F027
#[test]
fn f026_f027_options() {
    check("# check=skip=all\nFROM a AS B\n", &[]);
    check(
        "# check=skip=FromAsCasing, StageNameCasing\nFROM a AS B\n",
        &["StageNameCasing: Stage name 'B' should be lowercase (line 2)"],
    );
    check("# check=skip=FromAsCasing,StageNameCasing;error=true\nFROM a AS B\n", &[]);
    check("FROM x\n# check=skip=StageNameCasing\nFROM a AS B\n", &[]);
    check(
        "FROM x\n# check=error=true\nFROM a AS B\n",
        &["StageNameCasing: Stage name 'B' should be lowercase (line 3)"],
    );
    check("#!/usr/bin/env docker\n# check=skip=all\nFROM a AS B\n", &[]);
    let options = CheckOptions::parse(" skip = A , B ; experimental = all ; error = t ").unwrap();
    assert_eq!(Vec::from_iter(&options.skip), ["A", "B"]);
    assert!(options.experimental_all && options.error && !options.skip_all);
    assert_eq!(CheckOptions::parse("").unwrap(), CheckOptions::default());
    assert_eq!(
        CheckOptions::parse("skip=a;error=1;experimental=b;skip=c").unwrap().experimental.first().map(String::as_str),
        Some("b;skip=c")
    );
}

#[test]
fn l001_table_of_rules() {
    assert_eq!(RULES.len(), 22);
    for rule in RULES {
        let words: String = rule.url.unwrap_or("").trim_end_matches('/').rsplit('/').next().unwrap().replace('-', "");
        assert!(words == rule.name.to_lowercase() || (rule.url.is_none() && rule.name == "InvalidBaseImagePlatform"));
    }
}

#[test]
fn l003_error_option_names_the_rules() {
    let source = "# check=error=true\nFROM a AS B\nFROM a as B\n";
    let dockerfile = valid(source);
    let mut linter = Linter::new(dockerfile.check.clone());
    assert_eq!(linter.failure(), None);
    linter.file(&parse(source).0, &dockerfile);
    let want = "lint violation found for rules: DuplicateStageName, FromAsCasing, StageNameCasing";
    assert_eq!(linter.failure().as_deref(), Some(want));
}

#[test]
fn rules_of_scopes() {
    check_with(
        "FROM ${bas}\nRUN x\n",
        |linter, file| {
            linter.undefined_arg_in_from(&file.stages[0], "bas", ["base", "x"]);
            linter.undefined_var(&file.stages[0].instructions[0], "PAHT", ["PATH"]);
            linter.undefined_var(&file.stages[0].instructions[0], "foo", ["PATH"]);
            linter.invalid_default_arg_in_from(&file.stages[0]);
        },
        &[
            "UndefinedArgInFrom: FROM argument 'bas' is not declared (did you mean base?) (line 1)",
            "UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?) (line 2)",
            "UndefinedVar: Usage of undefined variable '$foo' (line 2)",
            "InvalidDefaultArgInFrom: Default value for ARG ${bas} results in empty or invalid base image name (line 1)",
        ],
    );
}

#[test]
fn rules_of_platforms() {
    let environment = BTreeMap::from([("TARGETPLATFORM".to_owned(), "linux/amd64".to_owned())]);
    let lint = |source: &str, want: &[&str]| {
        check_with(
            source,
            |linter, file| {
                let stage = &file.stages[0];
                let platform = stage.platform.as_ref().unwrap();
                let expansion = Lexer::new('\\').word(&platform.text, &environment).unwrap();
                linter.redundant_target_platform(stage, &expansion, Some("linux/amd64"));
                linter.constant_platform(stage, &expansion, "linux", "amd64");
            },
            want,
        );
    };
    lint(
        "FROM --platform=${TARGETPLATFORM} a\n",
        &[
            "RedundantTargetPlatform: Setting platform to predefined ${TARGETPLATFORM} in FROM is redundant as this is the default behavior (line 1)",
        ],
    );
    lint("FROM --platform=${TARGETPLATFORM}$x a\n", &[]);
    lint(
        "FROM --platform=linux/amd64 a\n",
        &[
            "FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\" (line 1)",
        ],
    );
    lint("FROM --platform=linux/amd64 a AS build-amd64\n", &[]);
    check_with(
        "FROM a\n",
        |linter, file| linter.invalid_base_image_platform(&file.stages[0], "a", "linux/arm64", "linux/amd64"),
        &[
            "InvalidBaseImagePlatform: Base image a was pulled with platform \"linux/amd64\", expected \"linux/arm64\" for current build (line 1)",
        ],
    );
}

#[test]
fn rules_of_statements() {
    check_with(
        "FROM a\nENV a b\nLABEL c d\nenv e=f\n# check=skip=LegacyKeyValueFormat\nENV g h\n",
        |linter, file| each(file).for_each(|statement| linter.legacy_key_value(statement)),
        &[
            "LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format (line 2)",
            "LegacyKeyValueFormat: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format (line 3)",
        ],
    );
    check_with(
        "FROM a\nCMD x\nENTRYPOINT y\nCMD [\"z\"]\n",
        |linter, file| each(file).for_each(|statement| linter.json_args_recommended(statement)),
        &[
            "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 2)",
            "JSONArgsRecommended: JSON arguments recommended for ENTRYPOINT to prevent unintended behavior related to OS signals (line 3)",
        ],
    );
    check_with(
        "FROM a\nCMD x\nCmd y\nCMD z\n",
        |linter, file| {
            let mut tracker = OnceTracker::default();
            each(file).for_each(|statement| linter.used_once(statement, &mut tracker));
            assert!(tracker.is_set());
        },
        &[
            "MultipleInstructionsDisallowed: Multiple Cmd instructions should not be used in the same stage because only the last one will be used (line 2)",
            "MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one will be used (line 3)",
        ],
    );
    check_with(
        "FROM a\nCOPY x y\nADD x y\nWORKDIR z\n",
        |linter, file| {
            each(file).take(2).for_each(|statement| linter.copy_ignored_file(statement, "x"));
            linter.relative_workdir(each(file).last().unwrap(), "z");
            linter.relative_workdir(each(file).last().unwrap(), "/z");
        },
        &[
            "CopyIgnoredFile: Attempting to Copy file \"x\" that is excluded by .dockerignore (line 2)",
            "CopyIgnoredFile: Attempting to Add file \"x\" that is excluded by .dockerignore (line 3)",
            "WorkdirRelativePath: Relative workdir \"z\" can have unexpected results if the base image changes (line 4)",
        ],
    );
}

#[test]
fn secret_names() {
    let told = |name: &str| {
        let dockerfile = valid("FROM a\nARG x\n");
        let mut linter = Linter::default();
        linter.secret_name(At::from(&dockerfile.stages[0].instructions[0]), "ARG", name);
        texts(&linter)
    };
    for name in ["apikey", "AUTH", "git_token", "SECRET_message", "DB_PASSWORD", "a_key_b", "PWORD", "credentials"] {
        let want = format!(
            "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG \"{name}\") (line 2)"
        );
        assert_eq!(told(name), [want]);
    }
    for name in ["monkey", "authors", "tokenize", "PUBLIC_KEY", "key_file", "SECRET_VERSION", "keyring"] {
        assert_eq!(told(name), [""; 0], "{name}");
    }
}

/// I004: ports, and what is wrong with them.
#[test]
fn i004_ports() {
    let dockerfile = valid("FROM a\nEXPOSE 1\n");
    let statement = &dockerfile.stages[0].instructions[0];
    assert!(matches!(statement.instruction, Instruction::Expose(_)));
    let names = |word: &str| Port::parse(word).map(|port| port.names().collect::<Vec<_>>()).map_err(|e| e.to_string());
    let ok = |word: &str, want: &[&str]| assert_eq!(names(word).unwrap(), want, "{word}");
    ok("80", &["80/tcp"]);
    ok("80/UDP", &["80/udp"]);
    ok("80/", &["80/tcp"]);
    ok("0", &["0/tcp"]);
    ok("65534-65535/sctp", &["65534/sctp", "65535/sctp"]);
    ok("8080:80", &["80/tcp"]);
    ok("8000-8010:80", &["80/tcp"]);
    ok("127.0.0.1:8080:80", &["80/tcp"]);
    ok("[::1]::80", &["80/tcp"]);
    let err = |word: &str, want: &str| assert_eq!(names(word).unwrap_err(), want, "{word}");
    err("", "invalid port: \"\": no port specified");
    err("/tcp", "invalid port: \"/tcp\": no port specified");
    err("80/foo", "invalid port: \"80/foo\": invalid proto: foo");
    err("x", "invalid containerPort: x");
    err("65536", "invalid containerPort: 65536");
    err("90-80", "invalid containerPort: 90-80");
    err("x:80", "invalid hostPort: x");
    err("1.2.3:1:80", "invalid IP address: 1.2.3");
    err("1-3:80-81", "invalid ranges specified for container and host Ports: 80-81 and 1-3");
    let lint = |word: &str, want: &[&str]| {
        let mut linter = Linter::default();
        linter.expose(statement, word, &Port::parse(word).unwrap());
        assert_eq!(texts(&linter), want);
    };
    lint("80/tcp", &[]);
    lint(
        "80/TCP",
        &["ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase (line 2)"],
    );
    lint(
        "1.2.3.4:1:80",
        &[
            "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '1.2.3.4:1:80' (line 2)",
        ],
    );
}
