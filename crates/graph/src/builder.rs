//! From typed ops to a definition.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message as _;
use rbuild_oci::Digest;

use crate::{Definition, Edge, pb};

/// A vertex that is being built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node(u32);

impl Node {
    /// Returns one of the node's outputs.
    pub const fn output(self, index: u32) -> Output {
        Output { node: self, index }
    }
}

/// An output of a vertex that is being built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Output {
    /// The vertex.
    pub node: Node,
    /// Which of its outputs.
    pub index: u32,
}

/// Collects ops and makes a definition of those that the result needs.
///
/// Ops are hashed at the end only, so a vertex can be used before it is known: reserve a node, use
/// its outputs, fill it later (the build context, of which the paths in use are known last). Equal ops
/// become one node as they are added, so that equal inputs of an op can be told by their nodes.
#[derive(Debug, Default)]
pub struct Builder {
    slots: Vec<Slot>,
    index: HashMap<(Vec<Output>, Vec<u8>), Node>,
}

#[derive(Debug, Default)]
struct Slot {
    op: pb::Op,
    inputs: Vec<Output>,
    metadata: pb::OpMetadata,
    locations: Vec<pb::Location>,
}

impl Builder {
    /// Returns a builder without ops.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an op, whose own list of inputs is ignored in favour of `inputs`. An op that was added
    /// before is not added again; what is said of it is joined.
    pub fn add(
        &mut self,
        op: pb::Op,
        inputs: Vec<Output>,
        metadata: &pb::OpMetadata,
        locations: &[pb::Location],
    ) -> Node {
        let op = pb::Op { inputs: Vec::new(), ..op };
        let key = (inputs, op.encode_to_vec());
        let node = match self.index.get(&key) {
            Some(node) => *node,
            None => {
                let node = self.reserve();
                self.slot(node).op = op;
                self.slot(node).inputs.clone_from(&key.0);
                self.index.insert(key, node);
                node
            }
        };
        self.describe(node, metadata, locations);
        node
    }

    /// Returns a node that is to be filled before [`Builder::finish`].
    pub fn reserve(&mut self) -> Node {
        let node = Node(u32::try_from(self.slots.len()).expect("memory ends before u32 does"));
        self.slots.push(Slot::default());
        node
    }

    /// Gives a reserved node its op. It may not have inputs: so no cycle can be made.
    pub fn fill(&mut self, node: Node, source: pb::SourceOp, metadata: &pb::OpMetadata) {
        let kind = Some(pb::Kind::Source(source));
        let constraints = Some(pb::WorkerConstraints::default());
        self.slot(node).op = pb::Op { op: kind, constraints, ..pb::Op::default() };
        self.describe(node, metadata, &[]);
    }

    /// Returns whether anything that `root` needs, `root` included, is one of `nodes`.
    pub fn needs(&self, root: Output, nodes: &[Node]) -> bool {
        self.reachable([root]).into_iter().any(|node| nodes.contains(&node))
    }

    /// Makes the definition of `root` and of what it needs; none for the empty file system.
    pub fn finish(&self, root: Option<Output>, infos: Vec<pb::SourceInfo>) -> Definition {
        self.finish_all(&[root], infos).0
    }

    /// Makes one definition of all `roots` and of what they need, and returns where each of them is in it.
    /// The definition's own result is the last that is not the empty file system.
    pub fn finish_all(&self, roots: &[Option<Output>], infos: Vec<pb::SourceInfo>) -> (Definition, Vec<Option<Edge>>) {
        let mut definition = Definition::default();
        let mut digests: HashMap<Node, Digest> = HashMap::new();
        let mut source = pb::Source { infos, ..pb::Source::default() };
        for node in self.reachable(roots.iter().copied().flatten()) {
            let slot = &self.slots[node.0 as usize];
            let mut op = slot.op.clone();
            op.inputs = slot.inputs.iter().map(|output| input(&digests, *output)).collect();
            let bytes = Bytes::from(op.to_bytes());
            let digest = Digest::of(&bytes);
            digests.insert(node, digest);
            let known = definition.metadata.contains_key(&digest);
            definition.metadata.entry(digest).or_default().merge(&slot.metadata);
            if !slot.locations.is_empty() {
                let places = source.locations.entry(digest.to_string()).or_default();
                places.locations.extend(slot.locations.iter().cloned());
            }
            if !known {
                definition.ops.push(bytes);
            }
        }
        let edge = |root: Output| Edge { vertex: digests[&root.node], output: root.index };
        let edges = roots.iter().map(|root| root.map(edge)).collect();
        if let Some(root) = roots.iter().copied().flatten().next_back() {
            let result = pb::Op { inputs: vec![input(&digests, root)], ..pb::Op::default() };
            definition.ops.push(result.to_bytes().into());
            definition.source = Some(source);
        }
        (definition, edges)
    }

    fn slot(&mut self, node: Node) -> &mut Slot {
        &mut self.slots[node.0 as usize]
    }

    fn describe(&mut self, node: Node, metadata: &pb::OpMetadata, locations: &[pb::Location]) {
        let slot = self.slot(node);
        slot.metadata.merge(metadata);
        for location in locations {
            if !slot.locations.contains(location) {
                slot.locations.push(location.clone());
            }
        }
    }

    /// Returns what `roots` need, each node after its inputs. An input is always an older node or a
    /// reserved one without inputs, so this ends.
    fn reachable(&self, roots: impl IntoIterator<Item = Output>) -> Vec<Node> {
        let mut order = Vec::new();
        let mut seen = vec![false; self.slots.len()];
        for root in roots {
            let mut stack = vec![(root.node, 0)];
            while let Some((node, next)) = stack.pop() {
                if next == 0 && std::mem::replace(&mut seen[node.0 as usize], true) {
                    continue;
                }
                match self.slots[node.0 as usize].inputs.get(next) {
                    None => order.push(node),
                    Some(input) => {
                        stack.push((node, next + 1));
                        if !seen[input.node.0 as usize] {
                            stack.push((input.node, 0));
                        }
                    }
                }
            }
        }
        order
    }
}

fn input(digests: &HashMap<Node, Digest>, output: Output) -> pb::Input {
    let digest = digests.get(&output.node).expect("inputs come before the nodes that use them");
    pb::Input { digest: digest.to_string(), index: i64::from(output.index) }
}
