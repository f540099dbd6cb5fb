//! From typed ops to a definition.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message as _;
use rbuild_oci::Digest;

use crate::{Definition, Edge, Graph, GraphError, pb};

/// A vertex that is being built. Nodes are equal if their vertices are.
#[derive(Debug, Clone, Copy)]
pub struct Node {
    slot: u32,
    /// Which of the times the vertex was added.
    addition: u32,
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.slot == other.slot
    }
}

impl Eq for Node {}

impl std::hash::Hash for Node {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.slot.hash(state);
    }
}

impl Node {
    /// Returns one of the node's outputs.
    pub const fn output(self, index: u32) -> Output {
        Output { node: self, index }
    }
}

/// An output of a vertex that is being built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
/// become one vertex as they are added, so that equal inputs of an op can be told by their nodes.
///
/// What is said of a vertex is joined at the end, in the order in which the result is walked: of several names,
/// that of the last place counts, as BuildKit's clients have it.
///
/// Graphs of others can be built upon ([`Builder::import`]): their vertices keep their bytes.
#[derive(Debug, Default)]
pub struct Builder {
    slots: Vec<Slot>,
    additions: Vec<Addition>,
    index: HashMap<(Vec<Output>, Vec<u8>), u32>,
    imported: HashMap<Digest, u32>,
    /// The files that imported vertices come from.
    files: Files,
}

/// What a vertex does.
#[derive(Debug)]
enum Slot {
    /// An op whose inputs are those of its addition.
    Op(Box<pb::Op>),
    /// An op of somebody else, as it came.
    Raw(Bytes),
}

/// One of the times a vertex was added.
#[derive(Debug, Default)]
struct Addition {
    inputs: Vec<Output>,
    metadata: pb::OpMetadata,
    locations: Vec<pb::Location>,
    /// Whether the places are in the files of imported graphs.
    is_imported: bool,
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
        let addition =
            Addition { inputs, metadata: metadata.clone(), locations: locations.to_vec(), is_imported: false };
        let key = (addition.inputs.clone(), op.encode_to_vec());
        let next = position(self.slots.len());
        let slot = *self.index.entry(key).or_insert(next);
        if slot == next {
            self.slots.push(Slot::Op(Box::new(op)));
        }
        self.additions.push(addition);
        Node { slot, addition: position(self.additions.len() - 1) }
    }

    /// Returns a node that is to be filled before [`Builder::finish`].
    pub fn reserve(&mut self) -> Node {
        self.slots.push(Slot::Op(Box::default()));
        self.additions.push(Addition::default());
        Node { slot: position(self.slots.len() - 1), addition: position(self.additions.len() - 1) }
    }

    /// Gives a reserved node its op. It may not have inputs: so no cycle can be made.
    pub fn fill(&mut self, node: Node, source: pb::SourceOp, metadata: &pb::OpMetadata) {
        let kind = Some(pb::Kind::Source(source));
        let constraints = Some(pb::WorkerConstraints::default());
        self.slots[node.slot as usize] = Slot::Op(Box::new(pb::Op { op: kind, constraints, ..pb::Op::default() }));
        self.additions[node.addition as usize].metadata = metadata.clone();
    }

    /// Takes over a graph, whoever made it, and returns its result; none for the empty file system.
    ///
    /// # Errors
    /// If the graph is not valid.
    pub fn import(&mut self, definition: &Definition) -> Result<Option<Output>, GraphError> {
        let graph = Graph::load(definition)?;
        let nodes = self.import_graph(&graph)?;
        Ok(graph.root().map(|root| nodes[&root.vertex].output(root.output)))
    }

    /// Takes over a graph, whoever made it, and returns some of its results; none for the empty file system.
    ///
    /// # Errors
    /// If the graph is not valid, or has no such result.
    pub fn import_all(
        &mut self,
        definition: &Definition,
        edges: &[Option<Edge>],
    ) -> Result<Vec<Option<Output>>, GraphError> {
        let graph = Graph::load(definition)?;
        let nodes = self.import_graph(&graph)?;
        let output = |edge: &Option<Edge>| {
            edge.map(|edge| {
                let known = graph.vertex(&edge.vertex).filter(|vertex| edge.output < vertex.outputs);
                let node = known.and_then(|_| nodes.get(&edge.vertex)).ok_or(GraphError::Result)?;
                Ok(node.output(edge.output))
            })
            .transpose()
        };
        edges.iter().map(output).collect()
    }

    fn import_graph(&mut self, graph: &Graph) -> Result<HashMap<Digest, Node>, GraphError> {
        let infos = graph.source().map_or(&[][..], |source| &source.infos);
        let places: Vec<usize> = infos.iter().map(|info| self.files.place_of(info)).collect();
        let mut nodes: HashMap<Digest, Node> = HashMap::with_capacity(graph.vertices().len());
        for vertex in graph.vertices() {
            let mut locations = vertex.locations.clone();
            for location in &mut locations {
                let index = usize::try_from(location.source_index).ok().and_then(|index| places.get(index));
                let reason = || format!("its place is in file {}, which there is not", location.source_index);
                let index = index.ok_or_else(|| GraphError::Invalid { vertex: vertex.digest, reason: reason() })?;
                location.source_index = i32::try_from(*index).unwrap_or(i32::MAX);
            }
            let next = position(self.slots.len());
            let slot = *self.imported.entry(vertex.digest).or_insert(next);
            if slot == next {
                self.slots.push(Slot::Raw(vertex.bytes.clone()));
            }
            let inputs = vertex.inputs.iter().map(|edge| nodes[&edge.vertex].output(edge.output)).collect();
            self.additions.push(Addition { inputs, metadata: vertex.metadata.clone(), locations, is_imported: true });
            nodes.insert(vertex.digest, Node { slot, addition: position(self.additions.len() - 1) });
        }
        Ok(nodes)
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
        let mut files = Files::default();
        let mut place = |info| i32::try_from(files.place_of(info)).unwrap_or(i32::MAX);
        let own: Vec<i32> = infos.iter().map(&mut place).collect();
        let imported: Vec<i32> = self.files.infos.iter().map(place).collect();
        let mut source = pb::Source { infos: files.infos, ..pb::Source::default() };
        for node in self.reachable(roots.iter().copied().flatten()) {
            let digest = match digests.get(&node) {
                Some(digest) => *digest,
                None => {
                    let bytes = self.encode(node, &digests);
                    let digest = Digest::of(&bytes);
                    digests.insert(node, digest);
                    if !definition.metadata.contains_key(&digest) {
                        definition.ops.push(bytes);
                    }
                    digest
                }
            };
            let addition = &self.additions[node.addition as usize];
            definition.metadata.entry(digest).or_default().merge(&addition.metadata);
            for location in &addition.locations {
                let mut location = location.clone();
                // The place in the list was checked when the graph was imported.
                let files = if addition.is_imported { &imported } else { &own };
                let index = usize::try_from(location.source_index).ok().and_then(|index| files.get(index));
                location.source_index = index.copied().unwrap_or(location.source_index);
                let places = &mut source.locations.entry(digest.to_string()).or_default().locations;
                if !places.contains(&location) {
                    places.push(location);
                }
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

    fn encode(&self, node: Node, digests: &HashMap<Node, Digest>) -> Bytes {
        let inputs = &self.additions[node.addition as usize].inputs;
        match &self.slots[node.slot as usize] {
            Slot::Raw(bytes) => bytes.clone(),
            Slot::Op(op) => {
                let inputs = inputs.iter().map(|output| input(digests, *output)).collect();
                pb::Op { inputs, ..(**op).clone() }.to_bytes().into()
            }
        }
    }

    /// Returns what `roots` need, each node after its inputs, and each as often as it was added and is needed. An
    /// input is always an older node or a reserved one without inputs, so this ends.
    fn reachable(&self, roots: impl IntoIterator<Item = Output>) -> Vec<Node> {
        let mut order = Vec::new();
        let mut seen = vec![false; self.additions.len()];
        for root in roots {
            let mut stack = vec![(root.node, 0)];
            while let Some((node, next)) = stack.pop() {
                let addition = node.addition as usize;
                if next == 0 && std::mem::replace(&mut seen[addition], true) {
                    continue;
                }
                match self.additions[addition].inputs.get(next) {
                    None => order.push(node),
                    Some(input) => {
                        stack.push((node, next + 1));
                        if !seen[input.node.addition as usize] {
                            stack.push((input.node, 0));
                        }
                    }
                }
            }
        }
        order
    }
}

/// Files that places are in, each once: graphs that were made of one Dockerfile each tell it.
#[derive(Debug, Clone, Default)]
struct Files {
    infos: Vec<pb::SourceInfo>,
    places: HashMap<Digest, usize>,
}

impl Files {
    /// Returns where a file is in the list, adding it if it is not there. How it was fetched need not be known of it.
    fn place_of(&mut self, info: &pb::SourceInfo) -> usize {
        let name = [info.filename.as_bytes(), info.language.as_bytes(), Digest::of(&info.data).as_bytes()].join(&0);
        let next = self.infos.len();
        let place = *self.places.entry(Digest::of(&name)).or_insert(next);
        if place == next {
            self.infos.push(info.clone());
        } else if self.infos[place].definition.is_none() {
            self.infos[place].definition.clone_from(&info.definition);
        }
        place
    }
}

fn position(index: usize) -> u32 {
    u32::try_from(index).expect("memory ends before u32 does")
}

fn input(digests: &HashMap<Node, Digest>, output: Output) -> pb::Input {
    let digest = digests.get(&output.node).expect("inputs come before the nodes that use them");
    pb::Input { digest: digest.to_string(), index: i64::from(output.index) }
}
