//! Layers made by hand, honest and hostile, and what the rooms make of them.

mod diffs;
mod hostile;
mod roots;
mod views;

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};

use rbuild_tree::select::{Filter, walk};
use rbuild_tree::{FileTree, Kind, Node};

use crate::{LayerForm, MergedView, SnapshotError, UnpackOptions, UnpackReport, unpack};

/// A tar in the making, of whatever names and links.
#[derive(Debug, Clone, Default)]
pub(super) struct Tar(Vec<u8>);

/// One entry: kind, name, link target, data.
pub(super) struct Raw<'a> {
    pub(super) kind: u8,
    pub(super) name: &'a str,
    pub(super) link: &'a str,
    pub(super) data: &'a [u8],
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) records: &'a [(&'a str, &'a str)],
}

impl Raw<'_> {
    pub(super) const FILE: Self =
        Raw { kind: b'0', name: "", link: "", data: b"", mode: 0o644, owner: (0, 0), records: &[] };
}

impl Tar {
    pub(super) fn raw(mut self, raw: &Raw<'_>) -> Self {
        if !raw.records.is_empty() {
            let mut text = String::new();
            for (key, value) in raw.records {
                let body = key.len() + value.len() + 3;
                let length = (body..body + 9).find(|length| body + length.to_string().len() == *length).unwrap();
                writeln!(text, "{length} {key}={value}").unwrap();
            }
            self = self.raw(&Raw { kind: b'x', name: "records", data: text.as_bytes(), ..Raw::FILE });
        }
        let mut block = [0_u8; 512];
        let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
        put(0, raw.name.as_bytes());
        let (uid, gid) = owner(raw.owner);
        put(100, format!("{:07o}\0{uid:07o}\0{gid:07o}\0", raw.mode).as_bytes());
        put(124, format!("{:011o}\0{:011o}\0        ", raw.data.len(), 1_600_000_000).as_bytes());
        put(156, &[raw.kind]);
        put(157, raw.link.as_bytes());
        put(257, b"ustar\x0000");
        put(329, b"0000000\x000000000\0");
        if matches!(raw.kind, b'3' | b'4') {
            let (major, minor) = raw.link.split_once(':').unwrap();
            put(157, &[0; 32]);
            put(329, format!("{:07o}\0", major.parse::<u32>().unwrap()).as_bytes());
            put(337, format!("{:07o}\0", minor.parse::<u32>().unwrap()).as_bytes());
        }
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self.0.extend_from_slice(raw.data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(super) fn file(self, name: &str, data: &str) -> Self {
        self.raw(&Raw { name, data: data.as_bytes(), ..Raw::FILE })
    }

    pub(super) fn dir(self, name: &str) -> Self {
        self.raw(&Raw { kind: b'5', name, mode: 0o755, ..Raw::FILE })
    }

    pub(super) fn symlink(self, name: &str, link: &str) -> Self {
        self.raw(&Raw { kind: b'2', name, link, mode: 0o777, ..Raw::FILE })
    }

    pub(super) fn hard_link(self, name: &str, link: &str) -> Self {
        self.raw(&Raw { kind: b'1', name, link, ..Raw::FILE })
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// A place with directories for layers, and something outside that must stay as it is.
pub(super) struct Place(tempfile::TempDir);

impl Place {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn dir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    pub(super) fn unpack(&self, name: &str, tar: &[u8]) -> Result<UnpackReport, SnapshotError> {
        unpack(tar, &self.dir(name), &options())
    }

    pub(super) fn tree(&self, name: &str, tar: Tar) -> LayerForm {
        self.unpack(name, &tar.end()).unwrap();
        LayerForm::Tree(self.path(name))
    }

    pub(super) fn blob(&self, name: &str, tar: &[u8]) -> LayerForm {
        std::fs::write(self.path(name), tar).unwrap();
        LayerForm::Blob(self.path(name))
    }
}

/// Whether every owner can be set: root outside of user namespaces, or in one with all ids.
pub(super) fn is_root() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    rbuild_sys::dirfd::current_owner().0 == 0 && map.split_whitespace().nth(2).is_some_and(|count| count.len() > 4)
}

/// Layers made here belong to whoever unpacks them, unless they say otherwise.
fn owner(wanted: (u32, u32)) -> (u32, u32) {
    if wanted == (0, 0) { rbuild_sys::dirfd::current_owner() } else { wanted }
}

pub(super) fn skip_unless_root(name: &str) -> bool {
    if !is_root() {
        eprintln!("skipped: {name} needs root");
    }
    !is_root()
}

/// As root nothing is recorded; as a user every owner but one is.
pub(super) fn options() -> UnpackOptions {
    UnpackOptions { userxattr: !is_root(), single_id: !is_root(), ..UnpackOptions::default() }
}

/// Everything that a tree shows, a line each.
pub(super) fn listing(tree: &dyn FileTree) -> Vec<String> {
    let root = tree.node(Path::new("")).unwrap().unwrap();
    let nodes = walk(tree, root, Filter::default()).unwrap();
    let files: Vec<&Node> = nodes.iter().filter(|node| node.metadata.kind.is_file()).collect();
    assert_eq!(tree.file_digests(&files).unwrap().len(), files.len());
    nodes.iter().map(|node| line(tree, node)).collect()
}

fn line(tree: &dyn FileTree, node: &Node) -> String {
    let m = &node.metadata;
    let what = match &m.kind {
        Kind::File => {
            let mut text = Vec::new();
            tree.open(node).unwrap().read_to_end(&mut text).unwrap();
            assert_eq!(text.len() as u64, m.size);
            text.escape_ascii().to_string()
        }
        kind => format!("{kind:?}"),
    };
    let xattrs: Vec<String> =
        m.xattrs.iter().map(|(name, value)| format!(" {}={}", name.escape_ascii(), value.escape_ascii())).collect();
    let (uid, gid) = if is_root() { (m.uid, m.gid) } else { (0, 0) };
    format!("{} {:o} {uid}:{gid} {}{} {what}", node.path.display(), m.mode, m.mtime.seconds, xattrs.concat())
}

/// The paths that a chain of layers shows, files with their text.
pub(super) fn check(layers: &[LayerForm], expect: &str) {
    let view = MergedView::open(layers).unwrap();
    let root = view.node(Path::new("")).unwrap().unwrap();
    let nodes = walk(&view, root, Filter::default()).unwrap();
    let mut found = Vec::new();
    for node in &nodes[1..] {
        let mut text = node.path.display().to_string();
        match &node.metadata.kind {
            Kind::Directory => text.push('/'),
            Kind::Symlink(target) => write!(text, ">{}", target.display()).unwrap(),
            Kind::File => {
                let mut content = String::new();
                view.open(node).unwrap().read_to_string(&mut content).unwrap();
                write!(text, "={content}").unwrap();
            }
            kind => write!(text, "={kind:?}").unwrap(),
        }
        found.push(text);
    }
    assert_eq!(found.join(" "), expect);
}
