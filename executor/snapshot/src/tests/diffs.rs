//! From tree to tar and back.

use std::process::Command;

use super::*;
use crate::{DiffOptions, diff};

fn tar() -> Tar {
    Tar::default()
}

fn diff_bytes(upper: &Path, below: &[LayerForm]) -> Vec<u8> {
    let below = MergedView::open(below).unwrap();
    let (bytes, report) = diff(upper, &below, &DiffOptions::default(), Vec::new()).unwrap();
    assert_eq!(report.diff_id.0, rbuild_oci::Digest::of(&bytes));
    assert_eq!(report.tar_size, bytes.len() as u64);
    bytes
}

/// The entries of a tar: names, hard links with `=target`.
fn entries(tar: &[u8]) -> String {
    let mut archive = rbuild_tree::tar::Archive::new(tar);
    let mut names = Vec::new();
    while let Some(entry) = archive.next_entry().unwrap() {
        let mut name = entry.header.path.display().to_string();
        if let Some(target) = entry.header.clean_link_target() {
            write!(name, "={}", target.display()).unwrap();
        }
        names.push(name);
    }
    names.join(" ")
}

#[test]
fn a_sorted_layer_comes_back_byte_by_byte() {
    if skip_unless_root("a_sorted_layer_comes_back_byte_by_byte") {
        return;
    }
    let records = [("SCHILY.xattr.user.note", "x")];
    let tar = tar().dir("d/").file("d/a", "1").hard_link("d/b", "d/a").symlink("d/l", "/nowhere");
    let tar = tar.raw(&Raw { kind: b'3', name: "null", link: "1:3", mode: 0o666, ..Raw::FILE });
    let tar = tar.raw(&Raw { kind: b'6', name: "pipe", mode: 0o600, ..Raw::FILE });
    let tar = tar.raw(&Raw { name: "suid", data: b"x", mode: 0o6755, owner: (5, 7), ..Raw::FILE });
    let plain = tar.clone().end();
    let place = Place::new();
    place.unpack("plain", &plain).unwrap();
    assert!(diff_bytes(&place.path("plain"), &[]) == plain);
    // With an extended header, whose own fields are not this writer's.
    let with = tar.raw(&Raw { name: "x", records: &records, ..Raw::FILE });
    let once = place.tree("with", with);
    let bytes = diff_bytes(&place.path("with"), &[]);
    let again = place.blob("again", &bytes);
    assert_eq!(listing(&MergedView::open(&[once]).unwrap()), listing(&MergedView::open(&[again]).unwrap()));
}

fn check_diff(base: Tar, upper: Tar, expect: &str) {
    let place = Place::new();
    let blob = place.blob("base.tar", &base.clone().end());
    let base = place.tree("base", base);
    let upper_tree = place.tree("upper", upper);
    let bytes = diff_bytes(&place.path("upper"), std::slice::from_ref(&base));
    assert_eq!(entries(&bytes), expect);
    assert!(diff_bytes(&place.path("upper"), &[blob]) == bytes, "the form below does not matter");
    let [before, after] = [upper_tree, place.blob("diff.tar", &bytes)];
    let shows = |top| listing(&MergedView::open(&[base.clone(), top]).unwrap());
    assert_eq!(shows(before), shows(after));
}

// items: H007
#[test]
fn only_what_changed_is_written() {
    let base = || tar().dir("d").file("d/a", "1").file("d/b", "2").dir("e").file("e/f", "3").file("top", "4");
    check_diff(base(), base(), "");
    check_diff(base(), tar().dir("d").file("d/a", "changed"), "d/ d/a");
    check_diff(base(), tar().dir("d").file("d/a", "9"), "d/ d/a");
    check_diff(base(), tar().dir("d").file("d/a", "1").file("d/new", ""), "d/ d/new");
    check_diff(base(), tar().dir("d").file("d/.wh.a", ""), "d/ d/.wh.a");
    check_diff(base(), tar().file(".wh.d", ""), ".wh.d");
    check_diff(base(), tar().file(".wh.nothing", "").dir("d").file("d/.wh.nothing", ""), "");
    check_diff(base(), tar().raw(&Raw { kind: b'5', name: "d", mode: 0o700, ..Raw::FILE }), "d/");
    check_diff(base(), tar().file("d", "file"), "d");
    check_diff(base(), tar().dir("top").file("top/x", ""), "top/ top/x");
    check_diff(base(), tar().symlink("top", "e"), "top");
    check_diff(tar().symlink("l", "a"), tar().symlink("l", "b"), "l");
    check_diff(tar().symlink("l", "a"), tar().symlink("l", "a"), "");
}

// items: H007
#[test]
fn opaque_directories_become_removals() {
    let base = || tar().dir("d").file("d/a", "1").file("d/b", "2").dir("d/e").file("d/e/f", "3").file("d/z", "4");
    let opaque = |tar: Tar| tar.dir("d").file("d/.wh..wh..opq", "");
    check_diff(base(), opaque(tar()), "d/ d/.wh.a d/.wh.b d/.wh.e d/.wh.z");
    check_diff(base(), opaque(tar()).file("d/b", "2").file("d/c", "new"), "d/ d/.wh.a d/c d/.wh.e d/.wh.z");
    let nested = opaque(tar()).file("d/a", "1").file("d/b", "2").dir("d/e").file("d/e/g", "").file("d/z", "4");
    check_diff(base(), nested, "d/ d/e/ d/e/.wh.f d/e/g");
    check_diff(base(), opaque(tar()).file("d/e", "file"), "d/ d/.wh.a d/.wh.b d/e d/.wh.z");
    check_diff(tar(), opaque(tar()).file("d/x", ""), "d/ d/x");
}

// items: H007
#[test]
fn further_names_are_hard_links() {
    let upper = tar().file("a", "1").hard_link("b", "a").hard_link("d/c", "b").symlink("s", "a").hard_link("t", "s");
    check_diff(tar(), upper, "a b=a d/ d/c=a s t=s");
}

#[test]
fn times_can_be_clamped() {
    let place = Place::new();
    place.tree("t", tar().file("a", "1"));
    let options = DiffOptions { clamp_mtime: Some(rbuild_tree::Time::from_seconds(1000)) };
    let (bytes, _) = diff(&place.path("t"), &MergedView::open(&[]).unwrap(), &options, Vec::new()).unwrap();
    let mut archive = rbuild_tree::tar::Archive::new(bytes.as_slice());
    assert_eq!(archive.next_entry().unwrap().unwrap().header.mtime.seconds, 1000);
}

/// Changes that a step may make.
pub(super) const CHANGES: &str = "
    echo new > d/new; echo changed >> d/a; rm d/b; rm -r e; mkdir e; echo x > e/only
    rm -r gone; mv top moved; ln d/new d/linked; ln -s nowhere link; mkfifo pipe
    chmod 700 mode; touch -d @5 time; mkdir -p deep/er/est; echo 1 > deep/er/est/f
    rm type; mkdir type; rm -r rev; echo file > rev; cp -p same same.tmp; mv same.tmp same
";

pub(super) fn changed_base() -> Tar {
    let tar = tar().dir("d").file("d/a", "1\n").file("d/b", "2").dir("e").file("e/f", "3").dir("e/g");
    let tar = tar.file("gone/x", "1").file("top", "4").dir("mode").file("time", "5").file("type", "6");
    tar.dir("rev").file("rev/x", "7").file("same", "8").file("untouched/deep/file", "9")
}

/// Runs a script in a directory as it is mounted; false if the tools are missing or mounting is not allowed.
fn in_overlay(lowers: &[&Path], upper: &Path, work: &Path, script: &str) -> bool {
    let merged = upper.with_file_name("merged");
    std::fs::create_dir_all(&merged).unwrap();
    let lowers: Vec<String> = lowers.iter().map(|path| path.display().to_string()).collect();
    let options = format!(
        "index=off,redirect_dir=off,metacopy=off,lowerdir={},upperdir={},workdir={}",
        lowers.join(":"),
        upper.display(),
        work.display()
    );
    let script =
        format!("mount -t overlay overlay -o {options} {0} && cd {0} && {{ set -e; {script}\n}}", merged.display());
    let status = Command::new("unshare").args(["-m", "sh", "-c", &script]).status();
    status.is_ok_and(|status| status.success())
}

#[test]
fn root_the_kernels_overlay_is_understood() {
    if skip_unless_root("root_the_kernels_overlay_is_understood") {
        return;
    }
    let place = Place::new();
    let base = place.tree("base", changed_base());
    let (upper, work) = (place.dir("run/fs"), place.dir("run/work"));
    let after = place.path("after.tar");
    let script = format!("{CHANGES}\n tar --sort=name -cf {} .", after.display());
    if !in_overlay(&[&place.path("base")], &upper, &work, &script) {
        return eprintln!("skipped: no overlay can be mounted here");
    }
    let bytes = diff_bytes(&upper, std::slice::from_ref(&base));
    assert_eq!(
        entries(&bytes),
        "d/ d/a d/.wh.b d/linked d/new=d/linked deep/ deep/er/ deep/er/est/ deep/er/est/f e/ e/.wh.f e/.wh.g e/only \
         .wh.gone link mode/ moved pipe rev time .wh.top type/"
    );
    let diff = place.blob("diff.tar", &bytes);
    let truth = listing(&MergedView::open(&[place.blob("truth.tar", &std::fs::read(after).unwrap())]).unwrap());
    let upper = LayerForm::Tree(upper);
    assert_eq!(listing(&MergedView::open(&[base.clone(), upper]).unwrap())[1..], truth[1..]);
    assert_eq!(listing(&MergedView::open(&[base, diff]).unwrap())[1..], truth[1..]);
}
