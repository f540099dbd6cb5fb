//! The answers to subrequests.

use std::path::Path;

use rbuild_dockerfile::render::Color;
use rbuild_dockerfile::{Diagnostic, interpret, parse};
use rbuild_lower::{Answer, Request, Subrequest, answer};

use crate::common::{parse_request, request};
use crate::{ask, diagnostics, done, host};

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

/// Compares with a file, or writes it.
fn golden(path: &Path, text: &str) {
    #[expect(clippy::disallowed_methods, reason = "a test may be told to rewrite its cases")]
    let update = std::env::var_os("UPDATE_GOLDEN");
    if update.is_some() {
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
