//! Chains of layers, in each form, and the agreement of the forms.

use std::process::Command;

use proptest::prelude::*;
use rbuild_tree::FileTree;

use super::*;

/// Checks what layers show, each as a tree and as a blob.
fn check_both(layers: &[Tar], expect: &str) {
    let place = Place::new();
    let names: Vec<String> = (0..layers.len()).map(|index| index.to_string()).collect();
    let trees: Vec<_> = names.iter().zip(layers).map(|(name, tar)| place.tree(name, tar.clone())).collect();
    let blob = |(name, tar): (&String, &Tar)| place.blob(&format!("{name}.tar"), &tar.clone().end());
    let blobs: Vec<_> = names.iter().zip(layers).map(blob).collect();
    check(&trees, expect);
    check(&blobs, expect);
    if let ([tree, ..], [_, blobs @ ..]) = (trees.as_slice(), blobs.as_slice()) {
        let mixed: Vec<LayerForm> = std::iter::once(tree.clone()).chain(blobs.iter().cloned()).collect();
        check(&mixed, expect);
    }
}

fn tar() -> Tar {
    Tar::default()
}

#[test]
fn layers_merge_as_an_overlay_does() {
    let base = || tar().dir("d").file("d/a", "1").file("d/b", "2").dir("d/e").file("d/e/f", "3").file("top", "4");
    check_both(&[], "");
    check_both(&[base()], "d/ d/a=1 d/b=2 d/e/ d/e/f=3 top=4");
    check_both(&[base(), tar().file("d/a", "new")], "d/ d/a=new d/b=2 d/e/ d/e/f=3 top=4");
    check_both(&[base(), tar().file("d/.wh.a", "")], "d/ d/b=2 d/e/ d/e/f=3 top=4");
    check_both(&[base(), tar().file(".wh.d", "")], "top=4");
    check_both(&[base(), tar().file(".wh.d", ""), tar().file("d/x", "5")], "d/ d/x=5 top=4");
    check_both(&[base(), tar().file("d/.wh..wh..opq", "").file("d/x", "5")], "d/ d/x=5 top=4");
    check_both(&[base(), tar().file("d/x", "5").file("d/.wh..wh..opq", "")], "d/ d/x=5 top=4");
    check_both(&[base(), tar().file("d", "file now")], "d=file now top=4");
    check_both(&[base(), tar().file("d", "file now"), tar().dir("d")], "d/ top=4");
    check_both(&[base(), tar().symlink("d", "top")], "d>top top=4");
    check_both(&[base(), tar().file("d/e", "file"), tar().file("d/.wh.e", "")], "d/ d/a=1 d/b=2 top=4");
    check_both(&[base(), tar().file(".wh..wh..opq", "").file("x", "")], "x=");
}

// items: H007
#[test]
fn whiteouts_hide_lower_layers_only() {
    let base = || tar().file("a/old", "1").file("b", "2");
    check_both(&[base(), tar().file(".wh.a", "").file("a/new", "3")], "a/ a/new=3 b=2");
    check_both(&[base(), tar().file("a/new", "3").file(".wh.a", "")], "a/ a/new=3 b=2");
    check_both(&[base(), tar().file("b", "new").file(".wh.b", "")], "a/ a/old=1 b=new");
    check_both(&[base(), tar().file(".wh.b", "").file("b", "new").file(".wh.b", "")], "a/ a/old=1 b=new");
    check_both(&[base(), tar().file(".wh.nothing", "")], "a/ a/old=1 b=2");
}

#[test]
fn the_last_entry_of_a_name_wins() {
    check_both(&[tar().file("a", "1").file("a", "22")], "a=22");
    check_both(&[tar().file("a", "1").dir("a").file("a/b", "2")], "a/ a/b=2");
    check_both(&[tar().dir("a").file("a/b", "2").file("a", "1")], "a=1");
    check_both(&[tar().file("a/b", "1").dir("a")], "a/ a/b=1");
    check_both(&[tar().symlink("a", "b").file("b/x", "1").dir("a").file("a/y", "2")], "a/ a/y=2 b/ b/x=1");
    check_both(&[tar().symlink("a", "/b").file("a/x", "1")], "a>/b b/ b/x=1");
    check_both(&[tar().symlink("a", "../../b").dir("b").file("a/x", "1")], "a>../../b b/ b/x=1");
}

#[test]
fn hard_links_share_what_they_name() {
    let linked = tar().file("a", "1").hard_link("d/b", "a").hard_link("c", "/d/../d/b");
    check_both(std::slice::from_ref(&linked), "a=1 c=1 d/ d/b=1");
    check_both(&[linked, tar().file("a", "2")], "a=2 c=1 d/ d/b=1");
    check_both(&[tar().symlink("s", "x").hard_link("t", "s")], "s>x t>x");
    check_both(&[tar().file("a", "1").file("b", "2").hard_link("b", "a")], "a=1 b=1");
    check_both(&[tar().file("a", "1").hard_link("a", "a")], "a=1");
    let place = Place::new();
    let form = place.tree("layer", tar().file("a", "1").hard_link("b", "a"));
    for form in [form, place.blob("layer.tar", &tar().file("a", "1").hard_link("b", "a").end())] {
        let view = MergedView::open(&[form]).unwrap();
        let [a, b] = ["a", "b"].map(|path| view.node(Path::new(path)).unwrap().unwrap());
        assert!(a.link.is_some() && a.link == b.link);
    }
}

#[test]
fn implied_directories_look_as_below() {
    let place = Place::new();
    let mode = |name, mode| Raw { kind: b'5', name, mode, ..Raw::FILE };
    let base = place.tree("base", tar().raw(&mode("tmp", 0o1777)).raw(&mode("var", 0o711)).raw(&mode("var/x", 0o770)));
    let upper = tar().file("tmp/x", "1").file("new/y", "2").dir("var/x").file("var/x/y/z", "");
    let blob = place.blob("upper.tar", &upper.clone().end());
    assert_eq!(place.unpack("upper", &upper.end()).unwrap().implied, 4);
    let tree = LayerForm::Tree(place.path("upper"));
    let mode_of = |layers: &[LayerForm]| {
        let view = MergedView::open(layers).unwrap();
        ["tmp", "new", "var", "var/x"].map(|path| view.node(Path::new(path)).unwrap().unwrap().metadata.mode)
    };
    let expect = [0o1777, 0o755, 0o711, 0o755];
    assert_eq!(mode_of(&[base.clone(), blob]), expect);
    assert_eq!(mode_of(&[base.clone(), tree.clone()]), expect);
    // A mount would look at the upmost directories only: the writable one must hold them.
    let roots = crate::Roots::new(crate::Strategy::Overlay { userxattr: !is_root() }, !is_root());
    let lowers = [place.path("base"), place.path("upper")];
    let active = roots.prepare(&place.dir("run/fs"), &place.dir("run/work"), &lowers).unwrap();
    let top = LayerForm::Tree(active.commit().unwrap().tree);
    check(std::slice::from_ref(&top), "new/ tmp/ var/ var/x/ var/x/y/");
    assert_eq!(mode_of(std::slice::from_ref(&top)), expect);
    let LayerForm::Tree(upper) = top else { unreachable!() };
    let below = MergedView::open(&[base, tree]).unwrap();
    let (_, report) = crate::diff(&upper, &below, &crate::DiffOptions::default(), Vec::new()).unwrap();
    assert_eq!(report.entries, 0);
}

#[test]
fn attributes_survive_in_both_forms() {
    let place = Place::new();
    let records = [("SCHILY.xattr.user.note", "x"), ("SCHILY.xattr.user.overlay.opaque", "y"), ("mtime", "5.25")];
    let tar = tar().raw(&Raw { name: "f", data: b"1", mode: 0o4751, owner: (12, 34), records: &records, ..Raw::FILE });
    let tar = tar.raw(&Raw { kind: b'5', name: "d", mode: 0o2775, owner: (1, 2), records: &records, ..Raw::FILE });
    let tar = tar.raw(&Raw { kind: b'6', name: "pipe", mode: 0o600, ..Raw::FILE });
    let tar = tar.raw(&Raw { kind: b'3', name: "null", link: "1:3", mode: 0o666, ..Raw::FILE });
    let tree = place.tree("t", tar.clone());
    let blob = place.blob("b", &tar.end());
    let [tree, blob] = [tree, blob].map(|form| listing(&MergedView::open(&[form]).unwrap()));
    assert_eq!(tree, blob);
    let file = if is_root() { "f 4751 12:34 5 user.note=x 1" } else { "f 4751 0:0 5 user.note=x 1" };
    assert!(tree.contains(&file.to_owned()), "{tree:#?}");
    assert!(tree.iter().any(|line| line.starts_with("null 666") && line.ends_with("minor: 3 })")), "{tree:#?}");
}

#[test]
fn sparse_files_keep_their_holes() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new();
    let records = [("GNU.sparse.map", "1048576,4"), ("GNU.sparse.numblocks", "1"), ("GNU.sparse.size", "2097152")];
    let tar = tar().raw(&Raw { name: "hole", data: b"data", records: &records, ..Raw::FILE });
    let blob = place.blob("b", &tar.clone().end());
    let tree = place.tree("t", tar);
    let stat = std::fs::metadata(place.path("t/hole")).unwrap();
    assert_eq!(stat.len(), 2_097_152);
    assert!(stat.blocks() * 512 < 100_000, "{} blocks", stat.blocks());
    let [tree, blob] = [tree, blob].map(|form| listing(&MergedView::open(&[form]).unwrap()));
    assert!(tree == blob);
}

/// One random entry over few names, so that they meet.
fn entry() -> impl Strategy<Value = (u8, String, String, u32)> {
    let name = proptest::collection::vec(prop_oneof!["a", "b", "c", r"\.wh\.a", r"\.wh\.\.wh\.\.opq", r"\.\."], 1..4);
    let target = prop_oneof!["a", "b/c", "/a/b", r"\.\./a", r"\.\./\.\./c", "c", ""];
    let kind = prop_oneof![Just(b'0'), Just(b'0'), Just(b'5'), Just(b'5'), Just(b'2'), Just(b'1')];
    (kind, name.prop_map(|parts| parts.join("/")), target, 0_u32..0o1000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn both_forms_of_any_layer_agree(entries in proptest::collection::vec(entry(), 0..14)) {
        let mut tar = Tar::default();
        for (kind, name, link, mode) in &entries {
            let link = if matches!(kind, b'1' | b'2') { link } else { "" };
            let data = if *kind == b'0' { name.as_bytes() } else { b"" };
            tar = tar.raw(&Raw { kind: *kind, name, link, data, mode: *mode | 0o700, ..Raw::FILE });
        }
        let place = Place::new();
        let bytes = tar.end();
        let base = place.tree("base", Tar::default().file("a/b/c", "1").file("b", "2").file("c/a", "3"));
        let tree = place.unpack("t", &bytes);
        let blob = MergedView::open(&[base.clone(), place.blob("b", &bytes)]);
        match (tree, blob) {
            (Ok(report), Ok(blob)) => {
                prop_assert_eq!(report.diff_id.0, rbuild_oci::Digest::of(&bytes));
                let tree = MergedView::open(&[base, LayerForm::Tree(place.path("t"))]).unwrap();
                prop_assert_eq!(listing(&tree), listing(&blob));
            }
            (Err(_), Err(_)) => {}
            (tree, blob) => prop_assert!(false, "one form is refused: {:?} {:?}", tree.err(), blob.err()),
        }
    }
}

#[test]
fn python_sees_the_same_files() {
    let tar = tar().dir("./d/").file("d/a", "12").symlink("d/l", "a").hard_link("d/h", "d/a").file("z", "").end();
    let place = Place::new();
    let LayerForm::Blob(path) = place.blob("b", &tar) else { unreachable!() };
    let script = "import sys, tarfile\nfor m in tarfile.open(sys.argv[1]): print(m.name.removeprefix('./'))";
    let Ok(output) = Command::new("python3").args(["-c", script]).arg(&path).output() else {
        return eprintln!("skipped: python3 is not installed");
    };
    let mut names: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    names.sort_unstable();
    let view = MergedView::open(&[LayerForm::Blob(path)]).unwrap();
    let root = view.node(Path::new("")).unwrap().unwrap();
    let nodes = walk(&view, root, Filter::default()).unwrap();
    assert!(nodes[1..].iter().map(|node| node.path.display().to_string()).eq(names));
}
