//! The examples build, so that none rots. Those on Debian need mirrors of packages: `make demo` and CI.

use std::path::{Path, PathBuf};

use crate::lab::{Lab, path};

/// The folder of examples: `RBUILD_E2E_EXAMPLES`, for users that cannot read the checkout, or the checkout's.
fn examples() -> PathBuf {
    let checkout =
        || Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").join("examples");
    std::env::var_os("RBUILD_E2E_EXAMPLES").map_or_else(checkout, PathBuf::from)
}

#[test]
fn shell_tool_on_busybox() {
    let lab = Lab::new();
    let examples = examples();
    lab.rbuild(["build", "-q", "-t", "words", &path(&examples.join("tool-busybox"))]).ok();
    lab.say("run --rm --network=none words layer banana").ok().prints("layer: known\nbanana: unknown");
    lab.say("run --rm --network=none words").ok();
}

#[test]
fn every_example_has_a_dockerfile() {
    let examples = examples();
    let folders: Vec<_> =
        std::fs::read_dir(examples).unwrap().flatten().filter(|entry| entry.path().is_dir()).collect();
    assert!(folders.len() >= 4);
    // Of the daemon there are units and a configuration.
    for folder in folders.into_iter().filter(|folder| folder.file_name() != "serve") {
        let text = std::fs::read_to_string(folder.path().join("Dockerfile")).unwrap();
        assert!(text.starts_with("# "), "{:?}: the first line says what it shows", folder.path());
    }
}
