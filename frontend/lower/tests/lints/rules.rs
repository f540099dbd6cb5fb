//! Each rule, turned on and off in every way there is; when rules speak, and what comes of it.

use rbuild_dockerfile::Diagnostic;
use rbuild_dockerfile::lint::RULES;
use rbuild_lower::Request;

use crate::cases::{CASES, Case};
use crate::common::{parse_request, request};
use crate::diagnostics;

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

// items: StageNameCasing FromAsCasing NoEmptyContinuation ConsistentInstructionCasing DuplicateStageName
// items: ReservedStageName JSONArgsRecommended MaintainerDeprecated UndefinedArgInFrom WorkdirRelativePath UndefinedVar
// items: MultipleInstructionsDisallowed LegacyKeyValueFormat InvalidBaseImagePlatform RedundantTargetPlatform
// items: SecretsUsedInArgOrEnv InvalidDefaultArgInFrom FromPlatformFlagConstDisallowed CopyIgnoredFile
// items: InvalidDefinitionDescription ExposeProtoCasing ExposeInvalidFormat L001
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
