//! Whole Dockerfiles: `testdata/<case>/{Dockerfile,request.txt}` become `graph.txt` and `config.json`.
//! `UPDATE_GOLDEN=1` writes what is made now.

#[allow(dead_code, reason = "shared by two tests")]
mod common;

use std::path::Path;
use std::{env, fs};

use common::{build, parse_request, show};

#[test]
#[allow(clippy::disallowed_methods, reason = "a test may be told to rewrite its cases")]
fn golden() {
    let update = env::var_os("UPDATE_GOLDEN").is_some();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(&root).expect("cases") {
        let case = entry.expect("a case").path();
        let read = |name: &str| fs::read_to_string(case.join(name)).unwrap_or_default();
        let result = build(&read("Dockerfile"), &parse_request(&read("request.txt")));
        let config = result.as_ref().map_or(String::new(), |lowered| {
            let config = serde_json::to_value(&lowered.config).expect("a configuration is JSON");
            serde_json::to_string_pretty(&config).expect("JSON") + "\n"
        });
        for (name, text) in [("graph.txt", show(&result)), ("config.json", config)] {
            if update && !text.is_empty() {
                fs::write(case.join(name), &text).expect("a golden file");
            } else if !update && text != read(name) {
                wrong.push(format!("{}/{name}:\n{text}", case.display()));
            }
        }
        count += 1;
    }
    assert!(count > 0, "no cases found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
