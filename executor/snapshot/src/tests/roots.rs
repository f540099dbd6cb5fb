//! Writable roots of each kind.

use std::process::Command;

use super::diffs::{CHANGES, changed_base};
use super::*;
use crate::{Active, DiffOptions, MAX_LOWERS, Roots, Strategy, diff};

fn run(directory: &Path, script: &str) {
    let script = format!("set -e; cd {}; {script}", directory.display());
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
}

fn prepare(place: &Place, strategy: Strategy, lowers: &[PathBuf]) -> Result<Active, SnapshotError> {
    let (upper, work) = (place.dir("run/fs"), place.dir("run/work"));
    Roots::new(strategy, !is_root()).prepare(&upper, &work, lowers)
}

/// What the script makes of the base by plain hands.
fn truth(place: &Place) -> Vec<String> {
    place.tree("truth", changed_base());
    run(&place.path("truth"), CHANGES);
    listing(&MergedView::open(&[LayerForm::Tree(place.path("truth"))]).unwrap())
}

/// Listings without times, which no two runs share.
fn timeless(lines: &[String]) -> Vec<String> {
    let without_time = |line: &String| {
        let fields: Vec<&str> = line.splitn(5, ' ').collect();
        [fields[0], fields[1], fields[2], fields[4]].join(" ")
    };
    lines.iter().map(without_time).collect()
}

fn check_strategy(strategy: Strategy) {
    let place = Place::new();
    let base = place.tree("base", changed_base());
    let before = listing(&MergedView::open(std::slice::from_ref(&base)).unwrap());
    let active = match prepare(&place, strategy.clone(), &[place.path("base")]) {
        Ok(active) => active,
        Err(error) => return eprintln!("skipped: {strategy:?}: {error}"),
    };
    assert!(active.lowers.is_empty() && strategy.gives_directory());
    run(&active.upper, CHANGES);
    let committed = active.commit().unwrap();
    assert_eq!(committed.tree, place.path("run/fs"));
    let view = MergedView::open(&[base.clone(), LayerForm::Tree(committed.tree.clone())]).unwrap();
    assert_eq!(timeless(&listing(&view)), timeless(&truth(&place)));
    let below = MergedView::open(std::slice::from_ref(&base)).unwrap();
    let (bytes, report) = diff(&committed.tree, &below, &DiffOptions::default(), Vec::new()).unwrap();
    let names: Vec<String> = std::iter::successors(Some(rbuild_tree::tar::Archive::new(bytes.as_slice())), |_| None)
        .flat_map(|mut archive| {
            let mut names = Vec::new();
            while let Some(entry) = archive.next_entry().unwrap() {
                names.push(entry.header.path.display().to_string());
            }
            names
        })
        .collect();
    assert_eq!(names.len() as u64, report.entries);
    for absent in ["untouched/", "untouched/deep/file", "same"] {
        assert!(!names.contains(&absent.to_owned()), "{absent} in {names:?}");
    }
    assert!(names.contains(&".wh.gone".to_owned()), "{names:?}");
    assert_eq!(listing(&MergedView::open(&[base]).unwrap()), before, "lowers are as they were");
}

#[test]
fn a_copied_root_becomes_a_layer() {
    check_strategy(Strategy::Copy);
}

#[test]
fn root_fuse_overlay_becomes_a_layer() {
    let program = PathBuf::from("/usr/bin/fuse-overlayfs");
    if skip_unless_root("root_fuse_overlay_becomes_a_layer") || !program.exists() || !Path::new("/dev/fuse").exists() {
        return eprintln!("skipped: no fuse-overlayfs here");
    }
    check_strategy(Strategy::FuseOverlay { program });
}

#[test]
fn an_untouched_copy_is_an_empty_layer() {
    let place = Place::new();
    let base = place.tree("base", changed_base());
    let active = prepare(&place, Strategy::Copy, &[place.path("base")]).unwrap();
    let committed = active.commit().unwrap();
    assert_eq!(std::fs::read_dir(&committed.tree).unwrap().count(), 0);
    let (_, report) =
        diff(&committed.tree, &MergedView::open(&[base]).unwrap(), &DiffOptions::default(), Vec::new()).unwrap();
    assert_eq!(report.entries, 0);
}

#[test]
fn an_uppers_root_looks_like_the_root_below() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let root = Raw { kind: b'5', name: "./", mode: 0o1751, ..Raw::FILE };
    place.tree("base", Tar::default().raw(&root));
    place.tree("next", Tar::default().file("x", ""));
    let lowers = [place.path("base"), place.path("next")];
    let active = prepare(&place, Strategy::Overlay { userxattr: !is_root() }, &lowers).unwrap();
    assert_eq!(active.lowers, lowers);
    assert_eq!(std::fs::metadata(&active.upper).unwrap().permissions().mode() & 0o7777, 0o1751);
    active.commit().unwrap();
}

#[test]
fn more_lowers_than_a_mount_takes_are_joined() {
    let place = Place::new();
    let mut lowers = Vec::new();
    for index in 0..MAX_LOWERS + 20 {
        let name = format!("l{index}");
        let whiteout = format!("d/.wh.{}", index.wrapping_sub(3));
        place.tree(&name, Tar::default().dir("d").file(&whiteout, "").file(&format!("d/{index}"), &name));
        lowers.push(place.path(&name));
    }
    let forms = |paths: &[PathBuf]| paths.iter().cloned().map(LayerForm::Tree).collect::<Vec<_>>();
    let expect = listing(&MergedView::open(&forms(&lowers)).unwrap());
    let active = prepare(&place, Strategy::Overlay { userxattr: !is_root() }, &lowers).unwrap();
    assert_eq!(active.lowers.len(), MAX_LOWERS);
    assert_eq!(listing(&MergedView::open(&forms(&active.lowers)).unwrap()), expect);
    let flat = active.lowers[0].clone();
    active.commit().unwrap();
    assert!(!flat.exists());
}
