//! Holds the tests to the list of what the Dockerfile language is, and writes `docs/dockerfile.md` of both.
//!
//! The list is `tests/items/dockerfile/*.txt`, in the order of names: `# Heading` lines, and lines of
//! `ID | one line | state`. A test that proves items names them in a comment above it, `// items: F001 F002`; a golden
//! case in a comment of its Dockerfile or request, `# items: …`. `UPDATE_GOLDEN=1` writes the document.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const DOCUMENT: &str = "docs/dockerfile.md";

const INTRODUCTION: &str = "\
<!-- Written by `UPDATE_GOLDEN=1 cargo test -p rbuild-tests --test items` from tests/items/dockerfile; do not edit. -->

# The Dockerfile language, item by item

What a Dockerfile may say, cut into small items with an id each. The tests that prove an item carry its id in a comment
above them (`// items: F001`), and this table is made of those comments; a test of rbuild fails if an item that is
said to work has no test, and if this table is not what the tests say.

States: **yes** works as BuildKit's frontend has it; **differs** works otherwise, with the reason; **refused** is a
clear error; **elsewhere** belongs to another part of rbuild; **untested** has no test of its own yet.
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

/// A line of the list.
struct Item {
    id: String,
    text: String,
    state: String,
}

/// Items under a heading.
struct Section {
    title: String,
    items: Vec<Item>,
}

fn sections() -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for file in entries(&root().join("tests/items/dockerfile")) {
        for line in read(&file).lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.strip_prefix("# ") {
                Some(title) => sections.push(Section { title: title.to_owned(), items: Vec::new() }),
                None => {
                    let section = sections.last_mut().unwrap_or_else(|| panic!("{}: no heading", file.display()));
                    section.items.push(item(line).unwrap_or_else(|why| panic!("{}: {line}: {why}", file.display())));
                }
            }
        }
    }
    sections
}

fn item(line: &str) -> Result<Item, &'static str> {
    let (id, rest) = line.split_once(" | ").ok_or("ID | one line | state")?;
    let (text, state) = rest.rsplit_once(" | ").ok_or("ID | one line | state")?;
    let known = match state.split_once(": ") {
        None => matches!(state, "yes" | "untested"),
        Some((state, reason)) => matches!(state, "differs" | "refused" | "elsewhere") && !reason.is_empty(),
    };
    let item = Item { id: id.to_owned(), text: text.to_owned(), state: state.to_owned() };
    if known { Ok(item) } else { Err("the state is none of yes, differs: …, refused: …, elsewhere: …, untested") }
}

/// A test that names items.
struct Marker {
    ids: Vec<String>,
    /// Path below the workspace.
    file: String,
    /// The function, or the folder of a golden case.
    test: String,
}

/// Finds the markers of the workspace.
fn markers() -> Vec<Marker> {
    let mut markers = Vec::new();
    for folder in ["crates", "frontend", "solver", "executor", "tests"] {
        search(&root().join(folder), false, &mut markers);
    }
    markers
}

fn search(folder: &Path, golden: bool, markers: &mut Vec<Marker>) {
    for path in entries(folder) {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !path.is_symlink() {
                search(&path, golden || name == "testdata", markers);
            }
        } else if name.ends_with(".rs") {
            in_source(&path, &read(&path), markers);
        } else if golden && matches!(name.as_str(), "Dockerfile" | "request.txt") {
            in_case(&path, markers);
        }
    }
}

/// Reads the markers of a source file: each belongs to the next function, which must be a test.
fn in_source(path: &Path, text: &str, markers: &mut Vec<Marker>) {
    let (mut ids, mut is_test) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if let Some(list) = line.strip_prefix("// items: ") {
            ids.extend(list.split_whitespace().map(str::to_owned));
        } else if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(name) = function(line).filter(|_| !ids.is_empty()) {
            assert!(is_test, "{}: `{name}` has a marker and is no test", path.display());
            markers.push(Marker { ids: std::mem::take(&mut ids), file: relative(path), test: name.to_owned() });
        }
        is_test &= function(line).is_none();
    }
    assert!(ids.is_empty(), "{}: a marker without a test behind it: {ids:?}", path.display());
}

/// Returns the name of the function that begins on the line.
fn function(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
    rest.split(['(', '<']).next()
}

fn in_case(path: &Path, markers: &mut Vec<Marker>) {
    // Cases of broken text are bytes.
    let text = String::from_utf8_lossy(&fs::read(path).expect("a file of a case")).into_owned();
    let lists = text.lines().filter_map(|line| line.strip_prefix("# items: "));
    let ids: Vec<String> = lists.flat_map(str::split_whitespace).map(str::to_owned).collect();
    if !ids.is_empty() {
        let case = path.parent().and_then(Path::file_name).expect("cases are folders");
        markers.push(Marker { ids, file: relative(path), test: case.to_string_lossy().into_owned() });
    }
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).expect("below the workspace").to_str().expect("names are UTF-8").to_owned()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the tests of each item, as links from the document.
fn tests(markers: &[Marker]) -> BTreeMap<&str, BTreeSet<String>> {
    let mut tests: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for marker in markers {
        for id in &marker.ids {
            tests.entry(id).or_default().insert(format!("[{}](../{})", marker.test, marker.file));
        }
    }
    tests
}

fn document(sections: &[Section], markers: &[Marker]) -> String {
    let tests = tests(markers);
    let mut text = INTRODUCTION.to_owned();
    for section in sections {
        writeln!(text, "\n## {}\n\n| id | what | tests | state |\n|---|---|---|---|", section.title).expect("text");
        for Item { id, text: what, state } in &section.items {
            let links = tests.get(id.as_str()).map(|links| Vec::from_iter(links.iter().cloned()).join(", "));
            let cells = [what, &links.unwrap_or_default(), state].map(|cell| cell.replace('|', "\\|"));
            writeln!(text, "| {id} | {} | {} | {} |", cells[0], cells[1], cells[2]).expect("text");
        }
    }
    text
}

#[test]
fn ids_of_the_list_are_its_own() {
    let sections = sections();
    let mut seen = BTreeSet::new();
    for item in sections.iter().flat_map(|section| &section.items) {
        assert!(seen.insert(&item.id), "{} is listed twice", item.id);
    }
    assert!(seen.len() > 100, "the list was not found");
}

#[test]
fn markers_name_items_of_the_list() {
    let (sections, markers) = (sections(), markers());
    let known: BTreeSet<&str> = sections.iter().flat_map(|section| &section.items).map(|item| &*item.id).collect();
    let unknown = markers.iter().flat_map(|marker| {
        let unknown = marker.ids.iter().filter(|id| !known.contains(id.as_str()));
        unknown.map(move |id| format!("{}: {}: {id}", marker.file, marker.test))
    });
    let unknown: Vec<String> = unknown.collect();
    assert!(unknown.is_empty(), "not in tests/items/dockerfile:\n{}", unknown.join("\n"));
}

#[test]
fn items_that_work_have_tests() {
    let (sections, markers) = (sections(), markers());
    let tests = tests(&markers);
    let mut wrong = Vec::new();
    for item in sections.iter().flat_map(|section| &section.items) {
        match (item.state.as_str(), tests.contains_key(item.id.as_str())) {
            ("yes", false) => wrong.push(format!("{} is said to work and no test names it", item.id)),
            ("untested", true) => wrong.push(format!("{} is said to have no test and has one", item.id)),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test may be told to rewrite its document")]
fn document_is_what_the_tests_say() {
    let text = document(&sections(), &markers());
    let path = root().join(DOCUMENT);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().expect("docs")).expect("a directory");
        fs::write(&path, &text).expect("writing the document");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let line = found.lines().zip(text.lines()).position(|(found, made)| found != made);
    assert!(found == text, "{DOCUMENT} is stale from line {line:?}; UPDATE_GOLDEN=1 rewrites it");
}
