//! Merges and diffs of trees that are written down as expressions.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rbuild_events::Silent;
use rbuild_graph::pb;
use rbuild_oci::Digest;
use rbuild_solver::{Context, Operation};
use rbuild_store::LayerId;
use rbuild_tree::{FileTree, Kind, LinkId, Metadata, Time};

use super::{DiffOperation, MergeOperation, PassthroughOperation};
use crate::file::{Body, Draft};
use crate::source::testing::{Client, Place};
use crate::value::Ref;
use crate::worker::Worker;

/// How a tree is made.
#[derive(Debug, Clone)]
enum Tree {
    Scratch,
    /// A layer upon another tree; see [`change`].
    Upon(Box<Tree>, &'static str),
    Merge(Vec<Tree>),
    Diff(Box<Tree>, Box<Tree>),
}

use Tree::{Merge, Scratch};

fn upon(below: &Tree, changes: &'static str) -> Tree {
    Tree::Upon(Box::new(below.clone()), changes)
}

fn of(changes: &'static str) -> Tree {
    upon(&Scratch, changes)
}

fn diff(lower: &Tree, upper: &Tree) -> Tree {
    Tree::Diff(Box::new(lower.clone()), Box::new(upper.clone()))
}

fn merge<const N: usize>(trees: [&Tree; N]) -> Tree {
    Merge(trees.into_iter().cloned().collect())
}

/// What makes trees; equal expressions are the same layers, as in a graph.
struct Maker {
    worker: Arc<Worker>,
    made: HashMap<String, Ref>,
    _place: Place,
}

impl Maker {
    fn new() -> Self {
        let place = Place::new();
        Self { worker: place.worker(Client::default()), made: HashMap::new(), _place: place }
    }

    fn make(&mut self, tree: &Tree) -> Ref {
        let name = format!("{tree:?}");
        if let Some(made) = self.made.get(&name) {
            return made.clone();
        }
        let made = match tree {
            Scratch => Ref::Layers(Vec::new()),
            Tree::Upon(below, changes) => {
                let below = self.make(below).layers().unwrap().to_vec();
                Ref::Layers(self.layer(below, changes))
            }
            Merge(trees) => {
                let inputs: Vec<_> = trees.iter().map(|tree| self.make(tree)).collect();
                let indices = (0..).take(inputs.len()).map(|input| pb::MergeInput { input });
                let op = Arc::new(pb::MergeOp { inputs: indices.collect() });
                run(&MergeOperation { worker: self.worker.clone(), op, inputs: inputs.len() }, inputs)
            }
            Tree::Diff(lower, upper) => {
                let mut inputs = Vec::new();
                let mut side = |tree: &Tree| match tree {
                    Scratch => pb::DiffInput { input: pb::EMPTY },
                    other => {
                        inputs.push(self.make(other));
                        pb::DiffInput { input: inputs.len() as i64 - 1 }
                    }
                };
                let op = Arc::new(pb::DiffOp { lower: Some(side(lower)), upper: Some(side(upper)) });
                run(&DiffOperation { worker: self.worker.clone(), op, inputs: inputs.len() }, inputs)
            }
        };
        self.made.insert(name, made.clone());
        made
    }

    fn layer(&self, below: Vec<LayerId>, changes: &str) -> Vec<LayerId> {
        let mut draft = Draft::new(self.worker.tree(&self.worker.unwatched(), &Ref::Layers(below.clone())).unwrap());
        changes.split(' ').for_each(|text| change(&mut draft, text));
        let layer = self.worker.write_layer(draft, changes).unwrap();
        below.into_iter().chain([layer]).collect()
    }

    /// Returns all paths: `dir/`, `file=content`, `link->target`, `#n` after the names of one file.
    fn list(&self, value: &Ref) -> String {
        let tree = self.worker.tree(&self.worker.unwatched(), value).unwrap();
        let (mut lines, mut links) = (Vec::new(), HashMap::new());
        list(&*tree, Path::new(""), &mut lines, &mut links);
        lines.join(" ")
    }
}

fn list(tree: &dyn FileTree, path: &Path, lines: &mut Vec<String>, links: &mut HashMap<LinkId, usize>) {
    for node in tree.children(path).unwrap() {
        let name = node.path.display().to_string();
        let mode = if node.metadata.mode == 0o644 || node.metadata.mode == 0o755 {
            String::new()
        } else {
            format!(":{:o}", node.metadata.mode)
        };
        match &node.metadata.kind {
            Kind::Directory => {
                lines.push(format!("{name}/{mode}"));
                list(tree, &node.path, lines, links);
            }
            Kind::Symlink(target) => lines.push(format!("{name}->{}", target.display())),
            _ => {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut tree.open(&node).unwrap(), &mut text).unwrap();
                let next = links.len() + 1;
                let link = node.link.map(|link| format!("#{}", links.entry(link).or_insert(next)));
                lines.push(format!("{name}={text}{mode}{}", link.unwrap_or_default()));
            }
        }
    }
}

/// `-path` removes; `path/` makes a directory, `path->target` a link, `path=text` a file and `one&other` two names of
/// an empty file. `:mode` comes last.
fn change(draft: &mut Draft, text: &str) {
    let time = Time { seconds: 1, nanoseconds: 0 };
    let (text, mode) = text.split_once(':').unwrap_or((text, ""));
    let mode = |default: u32| u32::from_str_radix(mode, 8).unwrap_or(default);
    if let Some(path) = text.strip_prefix('-') {
        draft.remove(Path::new(path)).unwrap();
    } else if let Some(path) = text.strip_suffix('/') {
        let metadata = Metadata { mode: mode(0o755), mtime: time, ..Metadata::directory() };
        draft.put(Path::new(path), metadata, Body::None, None).unwrap();
    } else if let Some((path, target)) = text.split_once("->") {
        draft.put(Path::new(path), Metadata { mtime: time, ..Metadata::symlink(target) }, Body::None, None).unwrap();
    } else if let Some((one, other)) = text.split_once('&') {
        let group = draft.new_group();
        let metadata = Metadata { mode: mode(0o644), mtime: time, ..Metadata::file(0) };
        for path in [one, other] {
            draft.put(Path::new(path), metadata.clone(), Body::None, Some(group)).unwrap();
        }
    } else {
        let (path, content) = text.split_once('=').unwrap();
        let metadata = Metadata { mode: mode(0o644), mtime: time, ..Metadata::file(content.len() as u64) };
        draft.put(Path::new(path), metadata, Body::Bytes(content.as_bytes().to_vec().into()), None).unwrap();
    }
}

fn run(operation: &dyn Operation<Ref>, inputs: Vec<Ref>) -> Ref {
    let context = Context::new(Digest::of(b"vertex"), "test", Arc::new(Silent), SystemTime::now);
    let handle = tokio::runtime::Handle::current();
    let run = || handle.block_on(operation.run(&context, inputs));
    tokio::task::block_in_place(run).unwrap().pop().unwrap()
}

fn check(maker: &mut Maker, tree: &Tree, expect: &str) {
    let made = maker.make(tree);
    assert_eq!(maker.list(&made), expect, "{tree:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_diffs_hold() {
    let mut maker = Maker::new();
    let mut check = |tree: &Tree, expect: &str| check(&mut maker, tree, expect);
    let (a, b) = (of("A=A"), of("B=B"));
    let (ab, abc) = (upon(&a, "B=B"), upon(&upon(&a, "B=B"), "C=C"));
    check(&diff(&Scratch, &Scratch), "");
    check(&diff(&a, &a), "");
    check(&diff(&Scratch, &a), "A=A");
    check(&merge([&a, &diff(&a, &a)]), "A=A");
    // Without a lower side, what the upper one removed is not removed elsewhere either.
    check(&merge([&of("foo=A"), &diff(&Scratch, &upon(&of("foo=B"), "-foo bar="))]), "bar=");
    check(&merge([&a, &of("foo=foo"), &diff(&a, &Scratch)]), "foo=foo");
    check(&diff(&diff(&a, &ab), &diff(&a, &abc)), "C=C");
    check(&merge([&abc, &diff(&diff(&a, &abc), &diff(&a, &ab))]), "A=A B=B");
    check(&upon(&diff(&a, &ab), "D=D"), "B=B D=D");
    check(&merge([&ab, &upon(&diff(&a, &ab), "-B")]), "A=A");
    check(&merge([&ab, &upon(&diff(&a, &abc), "-B")]), "A=A C=C");
    check(&merge([&diff(&a, &b), &diff(&b, &a)]), "A=A");
    check(&diff(&a, &of("A=A:600 B=B")), "A=A:600 B=B");
}

#[tokio::test(flavor = "multi_thread")]
async fn diffs_of_merges() {
    let mut maker = Maker::new();
    let mut check = |tree: &Tree, expect: &str| check(&mut maker, tree, expect);
    let (a, b, c) = (of("A=A"), of("B=B"), of("C=C"));
    let (ab, abc) = (merge([&a, &b]), merge([&a, &b, &c]));
    let ab_without_c = merge([&a, &b, &upon(&c, "-C")]);
    let nested = merge([&upon(&abc, "D=D"), &upon(&merge([&a, &of("E=E")]), "-A")]);
    check(&diff(&ab, &abc), "C=C");
    check(&merge([&abc, &diff(&abc, &ab_without_c)]), "A=A B=B");
    check(&diff(&ab_without_c, &upon(&ab_without_c, "D=D")), "D=D");
    check(&merge([&ab_without_c, &diff(&abc, &upon(&abc, "-A"))]), "B=B");
    check(&merge([&ab_without_c, &diff(&abc, &upon(&upon(&abc, "D=D"), "-A"))]), "B=B D=D");
    check(&diff(&abc, &upon(&nested, "F=F")), "D=D E=E F=F");
    check(&merge([&upon(&ab, "D=D"), &diff(&abc, &upon(&nested, "-D"))]), "B=B E=E");
    check(&merge([&a, &b, &a]), "A=A B=B");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_are_not_built_upon_each_other() {
    let mut maker = Maker::new();
    let one = of("d/ d/same=1 d/gone=1 d/other=1 file=1 was/ was/x=1 mode=1:600 l->a kept/ kept/in=1");
    let two = of("d/:700 d/same=1 d/other=2 d/new=1 file/ file/x=1 was=1 mode=1:640 l->b kept/ kept/in=1 h1&h2");
    let expect = "d/:700 d/new=1 d/other=2 file/ file/x=1 h1=#1 h2=#1 l->b mode=1:640 was=1";
    check(&mut maker, &diff(&one, &two), expect);
    // What is laid upon the one makes it the other.
    let both = "d/:700 d/new=1 d/other=2 d/same=1 file/ file/x=1 h1=#1 h2=#1 kept/ kept/in=1 l->b mode=1:640 was=1";
    check(&mut maker, &two, both);
    check(&mut maker, &merge([&one, &diff(&one, &two)]), both);
    let made = maker.make(&one);
    let listed = maker.list(&made);
    check(&mut maker, &merge([&two, &diff(&two, &one)]), &listed);
    check(&mut maker, &merge([&of("x=1"), &diff(&one, &two)]), &format!("{expect} x=1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn links_and_directories_in_merges() {
    let mut maker = Maker::new();
    let mut check = |tree: &Tree, expect: &str| check(&mut maker, tree, expect);
    let base = of("base=1");
    let link = diff(&base, &upon(&base, "bar/ foo->/bar"));
    let with_foo = upon(&base, "foo/");
    let file = diff(&with_foo, &upon(&with_foo, "foo/file="));
    check(&merge([&link, &file]), "bar/ foo/ foo/file=");
    check(&merge([&file, &link]), "bar/ foo->/bar");
    check(&merge([&link, &diff(&with_foo, &upon(&with_foo, "-foo"))]), "bar/");
    check(&merge([&upon(&link, "bar/file="), &diff(&file, &upon(&file, "-foo/file"))]), "bar/ bar/file= foo/");
    let extra = upon(&base, "extra/ extra/file=");
    check(&merge([&base, &diff(&extra, &upon(&extra, "-extra/file"))]), "base=1 extra/");
    check(&diff(&base, &upon(&base, "one&two")), "one=#1 two=#1");
}

/// What a step wrote instead of a directory hides what lay there, not what lies there elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn root_what_steps_wrote_is_laid_elsewhere() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let mut maker = Maker::new();
    let below = of("d/ d/a=1 d/b=1 same=1");
    let lowers = maker.make(&below).layers().unwrap().to_vec();
    let writable =
        maker.worker.prepare(&maker.worker.trees(&maker.worker.unwatched(), &lowers).unwrap(), "step").unwrap();
    let root = writable.upper();
    std::fs::remove_dir_all(root.join("d")).unwrap();
    std::fs::create_dir(root.join("d")).unwrap();
    std::fs::write(root.join("d/new"), "2").unwrap();
    let written = maker.worker.commit(writable).unwrap();
    let upper = Ref::Layers(lowers.iter().copied().chain([written]).collect());
    assert_eq!(maker.list(&upper), "d/ d/new=2 same=1");
    let step = upon(&below, "step");
    maker.made.insert(format!("{step:?}"), upper);
    check(&mut maker, &diff(&below, &step), "d/ d/new=2");
    check(&mut maker, &merge([&of("d/ d/b=1 d/other=3"), &diff(&below, &step)]), "d/ d/new=2 d/other=3");
    check(&mut maker, &merge([&of("x=1"), &step]), "d/ d/new=2 same=1 x=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_that_are_handed_on() {
    let mut maker = Maker::new();
    let inputs = vec![maker.make(&of("A=A")), maker.make(&of("B=B"))];
    let passthrough = |outputs: Vec<i64>| {
        let op = Arc::new(pb::PassthroughOp { id: "p".to_owned(), outputs });
        PassthroughOperation { op, inputs: 2 }
    };
    let context = Context::new(Digest::of(b"vertex"), "test", Arc::new(Silent), SystemTime::now);
    let outputs = passthrough(vec![1, 0, 1]).run(&context, inputs.clone()).await.unwrap();
    let names: Vec<_> = outputs.iter().map(|output| maker.list(output)).collect();
    assert_eq!(names, ["B=B", "A=A", "B=B"]);
    let key = |outputs| async { passthrough(outputs).cache_map(&context).await.unwrap().key };
    assert_ne!(key(vec![0]).await, key(vec![1]).await);
    assert!(passthrough(vec![7]).run(&context, inputs).await.is_err());
}
