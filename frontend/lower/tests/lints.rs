//! The lint rules as a whole build sees them (section 12), and the answers to subrequests as golden folders.

#[allow(dead_code, reason = "shared by several tests")]
mod common;

use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use common::{Host, host_ignoring, parse_request, request};
use rbuild_dockerfile::lint::RULES;
use rbuild_dockerfile::render::Color;
use rbuild_dockerfile::{Diagnostic, interpret, parse};
use rbuild_lower::{Answer, LowerError, MainContext, Request, Subrequest, answer, lower, read};

/// Waits for what never waits.
fn done<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the table's host never waits"),
    }
}

fn host(request: &Request) -> Host {
    host_ignoring(match &request.context {
        MainContext::Local { exclude, .. } => exclude.clone(),
        _ => Vec::new(),
    })
}

/// Reads and lowers; returns warnings and errors.
fn diagnostics(text: &str, request: &Request) -> Vec<Diagnostic> {
    let build = async { lower(&read(text, request)?, text, request, &host(request)).await };
    match done(build) {
        Ok(lowered) => lowered.warnings,
        Err(error) => error.diagnostics,
    }
}

fn ask(asked: Subrequest, text: &str, request: &Request) -> Result<Answer, LowerError> {
    done(answer(asked, text, request, &host(request), Color::Never))
}

/// A rule, a Dockerfile that breaks it with a comment's place marked `@`, and one that keeps it.
struct Case {
    rule: &'static str,
    /// The last part of its address; none if it has no page.
    page: Option<&'static str>,
    breaks: &'static str,
    line: u32,
    message: &'static str,
    keeps: &'static str,
    /// Whether a `check=` comment above the instruction counts.
    inline: bool,
}

const CASES: [Case; 22] = [
    Case {
        rule: "StageNameCasing",
        page: Some("stage-name-casing"),
        breaks: "ARG X\n@FROM scratch AS Base\n",
        line: 2,
        message: "Stage name 'Base' should be lowercase",
        keeps: "FROM scratch AS base\n",
        inline: true,
    },
    Case {
        rule: "FromAsCasing",
        page: Some("from-as-casing"),
        breaks: "ARG X\n@FROM scratch as base\n",
        line: 2,
        message: "'as' and 'FROM' keywords' casing do not match",
        keeps: "from scratch as base\n",
        inline: true,
    },
    Case {
        rule: "NoEmptyContinuation",
        page: Some("no-empty-continuation"),
        breaks: "FROM alpine\n@RUN a \\\n\n  b\n",
        line: 4,
        message: "Empty continuation line",
        keeps: "FROM alpine\nRUN a \\\n  # c\n  b\n",
        inline: false,
    },
    Case {
        rule: "ConsistentInstructionCasing",
        page: Some("consistent-instruction-casing"),
        breaks: "FROM alpine\n@run a\nRUN b\n",
        line: 2,
        message: "Command 'run' should match the case of the command majority (uppercase)",
        keeps: "from alpine\nrun a\n",
        inline: false,
    },
    Case {
        rule: "DuplicateStageName",
        page: Some("duplicate-stage-name"),
        breaks: "FROM scratch AS a\n@FROM scratch AS a\n",
        line: 2,
        message: "Duplicate stage name \"a\", stage names should be unique",
        keeps: "FROM scratch AS a\nFROM scratch AS b\n",
        inline: false,
    },
    Case {
        rule: "ReservedStageName",
        page: Some("reserved-stage-name"),
        breaks: "ARG X\n@FROM scratch AS context\n",
        line: 2,
        message: "Stage name should not use the same name as reserved stage \"context\"",
        keeps: "FROM scratch AS contexts\n",
        inline: false,
    },
    Case {
        rule: "JSONArgsRecommended",
        page: Some("json-args-recommended"),
        breaks: "FROM alpine\n@CMD x\n",
        line: 2,
        message: "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
        keeps: "FROM alpine\nSHELL [\"/bin/ash\", \"-c\"]\nCMD x\nENTRYPOINT [\"x\"]\n",
        inline: true,
    },
    Case {
        rule: "MaintainerDeprecated",
        page: Some("maintainer-deprecated"),
        breaks: "FROM alpine\n@MAINTAINER me\n",
        line: 2,
        message: "Maintainer instruction is deprecated in favor of using label",
        keeps: "FROM alpine\nLABEL org.opencontainers.image.authors=me\n",
        inline: true,
    },
    Case {
        rule: "UndefinedArgInFrom",
        page: Some("undefined-arg-in-from"),
        breaks: "ARG VERSION\n@FROM alpine$VERSON\n",
        line: 2,
        message: "FROM argument 'VERSON' is not declared (did you mean VERSION?)",
        keeps: "ARG VERSION\nFROM alpine$VERSION\n",
        inline: true,
    },
    Case {
        rule: "WorkdirRelativePath",
        page: Some("workdir-relative-path"),
        breaks: "FROM scratch\n@WORKDIR app\n",
        line: 2,
        message: "Relative workdir \"app\" can have unexpected results if the base image changes",
        keeps: "FROM scratch\nWORKDIR /app\nWORKDIR src\n",
        inline: true,
    },
    Case {
        rule: "UndefinedVar",
        page: Some("undefined-var"),
        breaks: "FROM alpine\n@ENV A=$PAHT\n",
        line: 2,
        message: "Usage of undefined variable '$PAHT' (did you mean $PATH?)",
        keeps: "FROM alpine\nARG B\nENV A=$PATH$B C=${B:-c}\n",
        inline: true,
    },
    Case {
        rule: "MultipleInstructionsDisallowed",
        page: Some("multiple-instructions-disallowed"),
        breaks: "FROM alpine\nCMD [\"a\"]\n@CMD [\"b\"]\n",
        line: 2,
        message: "Multiple CMD instructions should not be used in the same stage because only the last one will be used",
        keeps: "FROM alpine AS a\nCMD [\"a\"]\nFROM a\nCMD [\"b\"]\n",
        inline: true,
    },
    Case {
        rule: "LegacyKeyValueFormat",
        page: Some("legacy-key-value-format"),
        breaks: "FROM alpine\n@ENV a b\n",
        line: 2,
        message: "\"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
        keeps: "FROM alpine\nENV a=b\nLABEL c=\"d e\"\n",
        inline: true,
    },
    Case {
        rule: "InvalidBaseImagePlatform",
        page: None,
        breaks: "ARG X\n@FROM onlyarm\n",
        line: 2,
        message: "Base image onlyarm was pulled with platform \"linux/arm64\", expected \"linux/amd64\" for current build",
        keeps: "FROM --platform=linux/arm64 onlyarm\n",
        inline: true,
    },
    Case {
        rule: "RedundantTargetPlatform",
        page: Some("redundant-target-platform"),
        breaks: "ARG X\n@FROM --platform=$TARGETPLATFORM alpine\n",
        line: 2,
        message: "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
        keeps: "FROM --platform=$BUILDPLATFORM alpine\n",
        inline: true,
    },
    Case {
        rule: "SecretsUsedInArgOrEnv",
        page: Some("secrets-used-in-arg-or-env"),
        breaks: "FROM alpine\n@ENV API_KEY=x\n",
        line: 2,
        message: "Do not use ARG or ENV instructions for sensitive data (ENV \"API_KEY\")",
        keeps: "FROM alpine\nARG PUBLIC_KEY\nENV KEYBOARD=x TOKEN_FILE=y\n",
        inline: true,
    },
    Case {
        rule: "InvalidDefaultArgInFrom",
        page: Some("invalid-default-arg-in-from"),
        breaks: "ARG TAG\n@FROM busybox:$TAG\n",
        line: 2,
        message: "Default value for ARG busybox:$TAG results in empty or invalid base image name",
        keeps: "ARG TAG=2\nFROM busybox:$TAG\n",
        inline: false,
    },
    Case {
        rule: "FromPlatformFlagConstDisallowed",
        page: Some("from-platform-flag-const-disallowed"),
        breaks: "ARG X\n@FROM --platform=linux/amd64 alpine\n",
        line: 2,
        message: "FROM --platform flag should not use constant value \"linux/amd64\"",
        keeps: "FROM --platform=linux/amd64 alpine AS build-amd64\n",
        inline: true,
    },
    Case {
        rule: "CopyIgnoredFile",
        page: Some("copy-ignored-file"),
        breaks: "FROM alpine\n@COPY hidden /\n",
        line: 2,
        message: "Attempting to Copy file \"hidden\" that is excluded by .dockerignore",
        keeps: "FROM alpine\nCOPY shown /\n",
        inline: true,
    },
    Case {
        rule: "InvalidDefinitionDescription",
        page: Some("invalid-definition-description"),
        breaks: "FROM alpine\n@# of no thing\nARG thing\n",
        line: 3,
        message: "Comment for ARG should follow the format: `# thing <description>`",
        keeps: "FROM alpine\n# thing is one\nARG thing\n# apart\n#\nARG other\n",
        inline: true,
    },
    Case {
        rule: "ExposeProtoCasing",
        page: Some("expose-proto-casing"),
        breaks: "FROM alpine\n@EXPOSE 80/TCP\n",
        line: 2,
        message: "Defined protocol '80/TCP' in EXPOSE instruction should be lowercase",
        keeps: "FROM alpine\nEXPOSE 80/tcp\n",
        inline: true,
    },
    Case {
        rule: "ExposeInvalidFormat",
        page: Some("expose-invalid-format"),
        breaks: "FROM alpine\n@EXPOSE 127.0.0.1:80:80\n",
        line: 2,
        message: "EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:80:80'",
        keeps: "FROM alpine\nEXPOSE 80 443/udp\n",
        inline: true,
    },
];

impl Case {
    fn request(&self) -> Request {
        parse_request("arg TAG=1\nignore hidden\n")
    }

    fn is_experimental(&self) -> bool {
        RULES.iter().any(|rule| rule.name == self.rule && rule.experimental)
    }

    /// Returns the broken file with `comment` above the instruction.
    fn broken(&self, comment: &str) -> String {
        self.breaks.replace('@', comment)
    }

    /// Returns lines and messages of this rule.
    #[track_caller]
    fn found(&self, text: &str, request: &Request) -> Vec<(u32, String)> {
        let own = |warning: &&Diagnostic| warning.rule.is_some_and(|rule| rule.name == self.rule);
        diagnostics(text, request).iter().filter(own).map(|found| (found.lines.start, found.text())).collect()
    }

    /// Expects the rule to fire `shift` lines below its line.
    #[track_caller]
    fn fires(&self, text: &str, request: &Request, shift: u32) {
        assert_eq!(self.found(text, request), [(self.line + shift, self.message.to_owned())], "{}: {text}", self.rule);
    }

    #[track_caller]
    fn silent(&self, text: &str, request: &Request) {
        assert_eq!(self.found(text, request), [], "{}: {text}", self.rule);
    }

    /// Expects the build to fail because of the rule, which is told first.
    #[track_caller]
    fn fails(&self, text: &str, request: &Request) {
        let found = diagnostics(text, request);
        let error = found.last().filter(|last| last.is_error()).unwrap_or_else(|| panic!("{text}: no error"));
        let rules = error.message.strip_prefix("lint violation found for rules: ").expect(&error.message);
        assert!(rules.split(", ").any(|rule| rule == self.rule), "{}: {rules}", self.rule);
        assert!(found.iter().any(|warning| warning.text() == self.message), "{}: {text}", self.rule);
    }
}

// items: L001
#[test]
fn every_rule_fires_says_what_buildkit_says_and_leaves_the_rest_alone() {
    for case in &CASES {
        let on = if case.is_experimental() { "# check=experimental=all\n" } else { "" };
        let shift = u32::from(case.is_experimental());
        case.fires(&format!("{on}{}", case.broken("")), &case.request(), shift);
        case.silent(&format!("{on}{}", case.keeps), &case.request());
        let rule = RULES.iter().find(|rule| rule.name == case.rule).expect(case.rule);
        let page = case.page.map(|page| format!("https://docs.docker.com/go/dockerfile/rule/{page}/"));
        assert_eq!(rule.url, page.as_deref());
    }
    let mut names: Vec<&str> = CASES.iter().map(|case| case.rule).collect();
    names.dedup();
    assert_eq!(names.len(), RULES.len());
}

// items: F026
#[test]
fn every_rule_is_turned_on_and_off_by_the_directive() {
    for case in &CASES {
        let (name, broken, request) = (case.rule, case.broken(""), case.request());
        if case.is_experimental() {
            case.silent(&broken, &request);
            case.silent("# check=experimental=StageNameCasing\n", &request);
            case.fires(&format!("# check=experimental={name};skip=all\n{broken}"), &request, 1);
            case.fails(&format!("# check=error=true;experimental=A, {name}\n{broken}").replace(", ", ","), &request);
            continue;
        }
        case.silent(&format!("# check=skip={name}\n{broken}"), &request);
        case.silent(&format!("# check=skip=all;error=true\n{broken}"), &request);
        case.silent(&format!("# check=error=false;skip=Other,{name}\n{broken}"), &request);
        case.fires(&format!("# check=skip=Other\n{broken}"), &request, 1);
        case.fails(&format!("# check=error=true\n{broken}"), &request);
    }
}

// items: F027
#[test]
fn a_check_comment_counts_for_the_instruction_below_it() {
    for case in &CASES {
        let (name, request) = (case.rule, case.request());
        if case.is_experimental() {
            case.fires(&case.broken(&format!("# check=experimental={name}\n")), &request, 1);
            continue;
        }
        let skipping = case.broken(&format!("# check=skip={name}\n"));
        // The rules about the file as a whole ask no instruction.
        if case.inline {
            case.silent(&skipping, &request);
        } else {
            assert_eq!(case.found(&skipping, &request).len(), 1, "{skipping}");
        }
        let harmless = case.broken("# check=error=true;skip=Other\n");
        assert_eq!(case.found(&harmless, &request).len(), 1, "{harmless}");
        assert!(diagnostics(&harmless, &request).iter().all(|found| !found.is_error()), "{harmless}");
    }
}

// items: F028
#[test]
fn the_build_argument_takes_the_place_of_the_directive() {
    for case in &CASES {
        let with = |value: &str| {
            let mut request = case.request();
            request.build_args.insert("BUILDKIT_DOCKERFILE_CHECK".to_owned(), value.to_owned());
            request
        };
        let (name, broken) = (case.rule, case.broken(""));
        if case.is_experimental() {
            case.fires(&broken, &with(&format!("experimental={name}")), 0);
            case.silent(&format!("# check=experimental=all\n{broken}"), &with(""));
            continue;
        }
        case.silent(&broken, &with(&format!("skip={name}")));
        case.fires(&format!("# check=skip=all\n{broken}"), &with(""), 1);
        case.fails(&format!("# check=skip=all\n{broken}"), &with("error=true"));
    }
    let mut wrong = request();
    wrong.build_args.insert("BUILDKIT_DOCKERFILE_CHECK".to_owned(), "skp=A".to_owned());
    let found = diagnostics("FROM scratch\n", &wrong);
    assert!(found[0].text().contains("invalid check option \"skp\""), "{found:?}");
}

// items: L002
#[test]
fn stages_out_of_reach_are_linted_by_check_only() {
    let text = "FROM alpine AS unused\nENV a b\nFROM alpine AS app\nENV c d\n";
    let lines = |found: &[Diagnostic]| found.iter().map(|found| found.lines.start).collect::<Vec<_>>();
    assert_eq!(lines(&diagnostics(text, &request())), [4]);
    let target = |target: &str| Request { target: Some(target.to_owned()), ..request() };
    assert_eq!(lines(&diagnostics(text, &target("unused"))), [2]);
    let checked = |request: &Request| {
        let json = ask(Subrequest::Lint, text, request).unwrap().json;
        let results: serde_json::Value = serde_json::from_str(&json).unwrap();
        let line = |warning: &serde_json::Value| warning["location"]["ranges"][0]["start"]["line"].as_u64().unwrap();
        results["warnings"].as_array().unwrap().iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(checked(&request()), [2, 4]);
    assert_eq!(checked(&target("")), [2, 4]);
    assert_eq!(checked(&target("unused")), [2]);
}

// items: L003
#[test]
fn error_option_fails_after_everything_else() {
    let found = |text: &str| diagnostics(text, &request()).iter().map(ToString::to_string).collect::<Vec<_>>();
    let shown = found("# check=error=true\nFROM alpine as A\nENV a b\n");
    assert_eq!(
        shown.last().unwrap(),
        "lint violation found for rules: FromAsCasing, LegacyKeyValueFormat, StageNameCasing"
    );
    let shown = found("# check=error=true\nFROM alpine as a\nENV a b\nCOPY --from=0 x /\n");
    assert!(shown.last().unwrap().contains("circular") || shown.last().unwrap().contains("from"), "{shown:?}");
    assert!(shown.iter().any(|text| text.starts_with("FromAsCasing")), "{shown:?}");
}

// items: L005
#[test]
fn warnings_before_an_error_are_told() {
    let found = |text: &str| diagnostics(text, &request()).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        found("FROM scratch AS Bad\nMAINTAINER me\nBADCMD\nFROM scratch AS Later\n"),
        [
            "StageNameCasing: Stage name 'Bad' should be lowercase (line 1)",
            "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)",
            "dockerfile parse error on line 3: unknown instruction: BADCMD",
        ]
    );
    assert_eq!(
        found("FROM scratch AS Bad\nENV $A=b\nCOPY --from=missing:image x /\n")[0],
        "StageNameCasing: Stage name 'Bad' should be lowercase (line 1)"
    );
    // What falls apart before there are instructions has none to lint.
    assert_eq!(found("FROM scratch AS Bad\nRUN <<E\nx\n").len(), 1);
    assert_eq!(found("# check=skip=all\nFROM scratch AS Bad\nBADCMD\n").len(), 1);
}

/// Compares with a file, or writes it.
fn golden(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, text).expect("writing a golden file");
        return;
    }
    let want = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(text, want, "{}: UPDATE_GOLDEN=1 rewrites it", path.display());
}

/// Each folder of `subrequests` is a Dockerfile, perhaps a request, and the answers there are to it.
// items: L001 L005 O004 O005 O006 O007
#[test]
fn answers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("subrequests");
    let mut count = 0;
    for case in std::fs::read_dir(root).expect("golden cases") {
        let case = case.expect("a folder").path();
        let text = std::fs::read_to_string(case.join("Dockerfile")).expect("a Dockerfile");
        let request = parse_request(&std::fs::read_to_string(case.join("request.txt")).unwrap_or_default());
        for asked in [Subrequest::Lint, Subrequest::Outline, Subrequest::Targets] {
            let name = asked.name().trim_start_matches("frontend.");
            let Ok(answer) = ask(asked, &text, &request) else {
                assert!(!case.join(format!("{name}.txt")).exists(), "{}: {name} has no answer", case.display());
                continue;
            };
            assert_eq!(answer.version, "1.0.0");
            let findings = answer.findings.iter();
            let findings = findings.map(|found| format!("\n{}status {}\n", found.errors.concat(), found.status()));
            golden(&case.join(format!("{name}.txt")), &(answer.text + &findings.collect::<String>()));
            golden(&case.join(format!("{name}.json")), &(answer.json + "\n"));
        }
        count += 1;
    }
    assert!(count >= 5, "the golden cases are missing");
}

// items: O004
#[test]
fn questions_are_described() {
    let described = ask(Subrequest::Describe, "", &request()).unwrap();
    let list: Vec<serde_json::Value> = serde_json::from_str(&described.json).unwrap();
    for (one, asked) in list.iter().zip(Subrequest::ALL) {
        assert_eq!(Subrequest::named(one["name"].as_str().unwrap()), Some(asked));
        assert_eq!((one["version"].as_str(), one["type"].as_str()), (Some("1.0.0"), Some("rpc")));
    }
    assert_eq!(list.len(), 4);
    assert!(described.text.starts_with("NAME                 VERSION DESCRIPTION\nlint                 1.0.0   "));
    assert_eq!(Subrequest::named("frontend.convertllb"), None);
}

#[test]
fn colour_adds_only_escape_sequences() {
    let text = "FROM scratch AS Base\nRUN\u{1b}N\n";
    let asked = |color| done(answer(Subrequest::Lint, text, &request(), &host(&request()), color)).unwrap();
    let (plain, colored) = (asked(Color::Never), asked(Color::Always));
    let bare = |text: &str| text.replace("\u{1b}[1;31m", "").replace("\u{1b}[1;33m", "").replace("\u{1b}[0m", "");
    let errors = |answer: &Answer| answer.findings.as_ref().unwrap().errors.concat();
    assert_ne!(plain.text, colored.text);
    assert_eq!((bare(&colored.text), bare(&errors(&colored))), (plain.text.clone(), errors(&plain)));
    assert!(!format!("{}{}", plain.text, errors(&plain)).contains('\u{1b}'));
    let (ast, _) = parse(text);
    assert!(interpret(&ast).1.iter().any(Diagnostic::is_error));
}
