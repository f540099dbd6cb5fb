//! Names for vertices that their maker did not name.

use crate::{Edge, Graph, Vertex, pb};

/// Longest derived name: names of merges contain names of merges.
const LONGEST: usize = 500;

/// Returns the name that `vertex`, whose inputs are in `graph`, is shown by.
pub(crate) fn of(vertex: &Vertex, graph: &Graph) -> String {
    if let Some(name) = vertex.custom_name() {
        return name.to_owned();
    }
    let mut name = match vertex.kind() {
        pb::Kind::Source(source) => source.identifier.clone(),
        pb::Kind::Exec(exec) => exec.meta.as_ref().map(|meta| meta.args.join(" ")).unwrap_or_default(),
        pb::Kind::File(file) => file.actions.iter().map(action).collect::<Vec<_>>().join(", "),
        pb::Kind::Build(_) => "build".to_owned(),
        pb::Kind::Merge(merge) => {
            let sides = merge.inputs.iter().map(|side| input(vertex, graph, side.input));
            format!("merge ({})", sides.collect::<Vec<_>>().join(", "))
        }
        pb::Kind::Diff(diff) => {
            let side = |side: Option<pb::DiffInput>| input(vertex, graph, side.map_or(pb::EMPTY, |side| side.input));
            format!("diff ({}) -> ({})", side(diff.lower), side(diff.upper))
        }
        pb::Kind::Passthrough(passthrough) => format!("passthrough {}", passthrough.id),
    };
    if let Some((end, _)) = name.char_indices().nth(LONGEST) {
        name.truncate(end);
        name.push('…');
    }
    name
}

fn input(vertex: &Vertex, graph: &Graph, index: i64) -> String {
    let edge: Option<&Edge> = usize::try_from(index).ok().and_then(|index| vertex.inputs.get(index));
    let found = edge.and_then(|edge| graph.vertex(&edge.vertex));
    found.map_or_else(|| "scratch".to_owned(), |vertex| vertex.name.clone())
}

fn action(action: &pb::FileAction) -> String {
    match &action.action {
        Some(pb::Action::Copy(copy)) => format!("copy {} {}", copy.src, copy.dest),
        Some(pb::Action::Mkfile(mkfile)) => format!("mkfile {}", mkfile.path),
        Some(pb::Action::Mkdir(mkdir)) => format!("mkdir {}", mkdir.path),
        Some(pb::Action::Symlink(symlink)) => format!("symlink {} -> {}", symlink.newpath, symlink.oldpath),
        Some(pb::Action::Rm(rm)) => format!("rm {}", rm.path),
        None => String::new(),
    }
}
