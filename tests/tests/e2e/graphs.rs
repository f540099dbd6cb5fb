//! Graphs as any client of BuildKit makes them.

use bytes::Bytes;
use rbuild_graph::{Builder, Node, pb};

/// Returns the definition of vertices, each with the vertices that it reads; the last one is the result.
pub(crate) fn definition(vertices: Vec<(pb::Kind, Vec<usize>)>) -> pb::Definition {
    let mut builder = Builder::new();
    let mut nodes: Vec<Node> = Vec::new();
    for (kind, inputs) in vertices {
        let op = pb::Op { op: Some(kind), constraints: Some(pb::WorkerConstraints::default()), ..pb::Op::default() };
        let inputs = inputs.into_iter().map(|vertex| nodes[vertex].output(0)).collect();
        nodes.push(builder.add(op, inputs, &pb::OpMetadata::default(), &[]));
    }
    builder.finish(nodes.last().map(|node| node.output(0)), Vec::new()).to_pb()
}

/// An image of the daemon's store.
pub(crate) fn image(name: &str) -> pb::Kind {
    let attrs = [("image.resolvemode".to_owned(), "local".to_owned())].into();
    pb::Kind::Source(pb::SourceOp { identifier: format!("docker-image://docker.io/library/{name}:latest"), attrs })
}

/// A directory of the client.
pub(crate) fn local(name: &str, list: &[(&str, &str)]) -> pb::Kind {
    let attrs = crate::build_client::attributes(list);
    pb::Kind::Source(pb::SourceOp { identifier: format!("local://{name}"), attrs })
}

/// A file with this content; on nothing, or on the first input if the vertex has one.
pub(crate) fn mkfile(path: &str, content: &[u8], on: i64) -> pb::Kind {
    let file = pb::FileActionMkFile {
        path: path.to_owned(),
        mode: 0o644,
        data: Bytes::copy_from_slice(content),
        timestamp: -1,
        ..pb::FileActionMkFile::default()
    };
    let action = pb::Action::Mkfile(file);
    pb::Kind::File(pb::FileOp {
        actions: vec![pb::FileAction { input: on, secondary_input: pb::EMPTY, output: 0, action: Some(action) }],
    })
}

/// A process upon the first input.
pub(crate) fn exec(args: &[&str]) -> pb::ExecOp {
    let root = pb::Mount { dest: pb::ROOT_MOUNT.to_owned(), ..pb::Mount::default() };
    let meta = pb::Meta {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: vec!["PATH=/bin".to_owned()],
        cwd: "/".to_owned(),
        ..pb::Meta::default()
    };
    pb::ExecOp { meta: Some(meta), mounts: vec![root], network: pb::NetMode::None.into(), ..pb::ExecOp::default() }
}
