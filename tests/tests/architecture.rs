//! Holds the code to the table in ARCHITECTURE.md: direct workspace dependencies of each room.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

/// Returns room → rooms it may use, as the table says.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md exists");
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<_> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        match cells.as_slice() {
            [room, folder, _, uses] if folder.starts_with('`') => Some((room.to_string(), uses.to_string())),
            _ => None,
        }
    });
    rows.map(|(room, uses)| {
        let uses = uses.split_whitespace().filter(|name| *name != "–").map(str::to_owned).collect();
        (room, uses)
    })
    .collect()
}

/// Returns room → rooms it uses, as cargo sees it.
fn metadata() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let room = |name: &str| name.strip_prefix("rbuild-").map(str::to_owned);
    let mut rooms = BTreeMap::new();
    for package in packages {
        let Some(name) = room(package["name"].as_str().expect("a name")).filter(|name| name != "tests") else {
            continue;
        };
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        let normal = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
        let uses = normal.filter_map(|dependency| room(dependency["name"].as_str()?)).collect();
        rooms.insert(name, uses);
    }
    rooms
}

#[test]
fn edges_between_rooms_are_those_of_the_table() {
    let (table, code) = (table(), metadata());
    assert!(table.len() > 10, "the table was not found in ARCHITECTURE.md: {table:?}");
    let rooms: BTreeSet<_> = table.keys().chain(code.keys()).collect();
    let mut differences = Vec::new();
    for room in rooms {
        match (table.get(room), code.get(room)) {
            (Some(_), None) => differences.push(format!("{room} stands in the table, not in the code")),
            (None, Some(_)) => differences.push(format!("{room} stands in the code, not in the table")),
            (Some(may), Some(uses)) if may != uses => differences.push(format!(
                "{room}: only in the table: {:?}; only in the code: {:?}",
                may.difference(uses).collect::<Vec<_>>(),
                uses.difference(may).collect::<Vec<_>>()
            )),
            _ => {}
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn table_is_acyclic() {
    let table = table();
    let mut order: Vec<String> = Vec::new();
    while order.len() < table.len() {
        let ready: Vec<_> = table
            .iter()
            .filter(|(room, uses)| !order.contains(room) && uses.iter().all(|used| order.contains(used)))
            .map(|(room, _)| room.clone())
            .collect();
        assert!(!ready.is_empty(), "a cycle among the rooms that are not in {order:?}");
        order.extend(ready);
    }
}

/// Files that hold Rust source of the rooms, tests left out.
fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a folder of the workspace") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() && !matches!(name.as_str(), "target" | "tests" | "testdata" | ".git" | "benches") {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

#[test]
fn unsafe_stands_in_sys_only() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    for file in files.iter().filter(|file| !file.starts_with(root().join("crates/sys"))) {
        let text = std::fs::read_to_string(file).expect("source is text");
        let offending = text.lines().find(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("allow(unsafe_code)")
        });
        assert_eq!(offending, None, "{}", file.display());
    }
}

#[test]
fn no_module_is_named_after_nothing() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    for file in files {
        let stem = file.file_stem().expect("a name").to_string_lossy().into_owned();
        assert!(
            !["util", "utils", "helper", "helpers", "manager", "common"].contains(&stem.as_str()),
            "{}",
            file.display()
        );
        let folder = file.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        assert!(!matches!(folder.as_deref(), Some("util" | "utils" | "common" | "helpers")), "{}", file.display());
    }
}
