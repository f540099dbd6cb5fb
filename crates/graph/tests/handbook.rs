//! What docs/buildkit.md says of capabilities is what the program says.

use std::path::Path;

#[test]
fn the_handbook_tells_what_is_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/buildkit.md");
    let handbook = std::fs::read_to_string(&path).expect("the handbook lies in the checkout");
    let (_, after) =
        handbook.split_once("| capability | reason |\n|---|---|\n").expect("it has a table of capabilities");
    let told: Vec<&str> = after.lines().take_while(|line| line.starts_with('|')).collect();
    let refused = rbuild_graph::capabilities().iter().filter(|capability| !capability.enabled);
    let rows: Vec<String> = refused.map(|no| format!("| `{}` | {} |", no.id, no.reason)).collect();
    assert_eq!(
        told, rows,
        "the table of capabilities in docs/buildkit.md is not that of crates/graph/src/capability.rs"
    );
}
