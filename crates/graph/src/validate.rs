//! What must hold of a single op, whoever wrote it.
//!
//! Every field of a protobuf message is optional, and every index is whatever the sender liked
//! (CVE-2024-23650 was a panic on such). After this, the accessors of
//! [`Vertex`](crate::Vertex) and indexing by [`Operand`] are safe.

use crate::{Operand, pb};

/// Checks `op` and returns the number of its outputs.
pub(crate) fn op(op: &pb::Op) -> Result<u32, String> {
    let inputs = op.inputs.len();
    match op.op.as_ref().ok_or("op does nothing: no kind of op is set")? {
        pb::Kind::Exec(exec) => self::exec(exec, inputs),
        pb::Kind::Source(source) => self::source(source, inputs),
        pb::Kind::File(file) => self::file(file, inputs),
        pb::Kind::Build(build) => self::build(build, inputs),
        pb::Kind::Merge(merge) => self::merge(merge, inputs),
        pb::Kind::Diff(diff) => self::diff(diff, inputs),
        pb::Kind::Passthrough(passthrough) => self::passthrough(passthrough, inputs),
    }
}

fn source(source: &pb::SourceOp, inputs: usize) -> Result<u32, String> {
    if source.identifier.is_empty() {
        return Err("source op without an identifier".to_owned());
    }
    if inputs != 0 {
        return Err(format!("source op with {inputs} inputs"));
    }
    Ok(1)
}

fn exec(exec: &pb::ExecOp, inputs: usize) -> Result<u32, String> {
    let meta = exec.meta.as_ref().ok_or("exec op without a process")?;
    if meta.args.is_empty() {
        return Err("exec op without arguments".to_owned());
    }
    known::<pb::NetMode>(exec.network, "network mode")?;
    known::<pb::SecurityMode>(exec.security, "security mode")?;
    if exec.secretenv.iter().any(|secret| secret.id.is_empty() || secret.name.is_empty()) {
        return Err("exec op with a secret variable without a name".to_owned());
    }
    match exec.mounts.iter().filter(|mount| mount.dest == pb::ROOT_MOUNT).count() {
        1 => {}
        0 => return Err("exec op without a root file system".to_owned()),
        count => return Err(format!("exec op with {count} root file systems")),
    }
    exec.mounts.iter().try_for_each(|mount| self::mount(mount, inputs))?;
    let bind = |mount: &&pb::Mount| mount.mount_type == pb::MountType::Bind as i32;
    outputs(exec.mounts.iter().filter(bind).map(|mount| mount.output), exec.mounts.len())
}

fn mount(mount: &pb::Mount, inputs: usize) -> Result<(), String> {
    if mount.dest.is_empty() {
        return Err("exec op with a mount without a destination".to_owned());
    }
    optional_input(mount.input, inputs)?;
    content_cache(mount)?;
    let named = |present: bool| {
        if present { Ok(()) } else { Err(format!("mount at `{}` lacks the options of its type", mount.dest)) }
    };
    let kind = known::<pb::MountType>(mount.mount_type, "mount type")?;
    if mount.dest == pb::ROOT_MOUNT && kind != pb::MountType::Bind {
        return Err(format!("invalid mount type {kind:?} for {}", pb::ROOT_MOUNT));
    }
    if mount.dest == pb::ROOT_MOUNT && !is_whole(&mount.selector) {
        return Err(format!("a part of an input, `{}`, cannot be the root file system", mount.selector.escape_debug()));
    }
    match kind {
        pb::MountType::Bind => Ok(()),
        pb::MountType::Secret => named(mount.secret_opt.as_ref().is_some_and(|opt| !opt.id.is_empty())),
        pb::MountType::Ssh => named(mount.ssh_opt.is_some()),
        pb::MountType::Tmpfs => named(mount.tmpfs_opt.is_none_or(|opt| opt.size >= 0)),
        pb::MountType::Cache => {
            named(mount.cache_opt.is_some())?;
            let sharing = mount.cache_opt.as_ref().map_or(0, |opt| opt.sharing);
            known::<pb::CacheSharing>(sharing, "cache sharing mode").map(|_| ())
        }
    }
}

/// A result must not be known by the content of a part of an input that it holds as a whole.
fn content_cache(mount: &pb::Mount) -> Result<(), String> {
    let wanted = known::<pb::MountContentCache>(mount.content_cache, "mount content cache mode")?;
    let safe = mount.output == pb::SKIP_OUTPUT || mount.readonly || is_whole(&mount.selector);
    if wanted == pb::MountContentCache::On && !safe {
        return Err(format!("invalid mount cache content: a part of an input is mounted writable at `{}`", mount.dest));
    }
    Ok(())
}

fn is_whole(selector: &str) -> bool {
    selector.split('/').all(|part| part.is_empty() || part == ".")
}

fn file(file: &pb::FileOp, inputs: usize) -> Result<u32, String> {
    if file.actions.is_empty() {
        return Err("file op without actions".to_owned());
    }
    for (position, action) in file.actions.iter().enumerate() {
        file_action(action, inputs, position).map_err(|reason| format!("action {position} of file op: {reason}"))?;
    }
    outputs(file.actions.iter().map(|action| action.output), file.actions.len())
}

fn file_action(action: &pb::FileAction, inputs: usize, position: usize) -> Result<(), String> {
    let operand = |index: i64| match Operand::of(index, inputs) {
        Operand::Scratch if index != pb::EMPTY => Err(format!("negative index {index}")),
        Operand::Action(earlier) if earlier >= position => {
            Err(format!("index {index} is neither an input nor an earlier action"))
        }
        _ => Ok(()),
    };
    operand(action.input)?;
    let owner = match action.action.as_ref().ok_or("no kind of action is set")? {
        pb::Action::Copy(copy) => {
            operand(action.secondary_input)?;
            &copy.owner
        }
        pb::Action::Mkfile(mkfile) => &mkfile.owner,
        pb::Action::Mkdir(mkdir) => &mkdir.owner,
        pb::Action::Symlink(symlink) => &symlink.owner,
        pb::Action::Rm(_) => &None,
    };
    for id in owner.iter().flat_map(|owner| [&owner.user, &owner.group]).flatten() {
        if let Some(pb::User::ByName(named)) = &id.user {
            operand(named.input)?;
        }
    }
    Ok(())
}

fn build(build: &pb::BuildOp, inputs: usize) -> Result<u32, String> {
    optional_input(build.builder, inputs)?;
    build.inputs.values().try_for_each(|named| required_input(named.input, inputs))?;
    Ok(1)
}

fn merge(merge: &pb::MergeOp, inputs: usize) -> Result<u32, String> {
    if merge.inputs.is_empty() {
        return Err("merge op without inputs".to_owned());
    }
    merge.inputs.iter().try_for_each(|side| required_input(side.input, inputs))?;
    Ok(1)
}

fn diff(diff: &pb::DiffOp, inputs: usize) -> Result<u32, String> {
    let (Some(lower), Some(upper)) = (diff.lower, diff.upper) else {
        return Err("diff op without two sides".to_owned());
    };
    optional_input(lower.input, inputs)?;
    optional_input(upper.input, inputs)?;
    Ok(1)
}

fn passthrough(passthrough: &pb::PassthroughOp, inputs: usize) -> Result<u32, String> {
    if passthrough.id.is_empty() || passthrough.outputs.is_empty() {
        return Err("passthrough op without a name or outputs".to_owned());
    }
    passthrough.outputs.iter().try_for_each(|index| required_input(*index, inputs))?;
    u32::try_from(passthrough.outputs.len()).map_err(|_| "passthrough op with too many outputs".to_owned())
}

fn optional_input(index: i64, inputs: usize) -> Result<(), String> {
    if index == pb::EMPTY { Ok(()) } else { required_input(index, inputs) }
}

fn required_input(index: i64, inputs: usize) -> Result<(), String> {
    match usize::try_from(index) {
        Ok(position) if position < inputs => Ok(()),
        _ => Err(format!("index {index} is not one of {inputs} inputs")),
    }
}

/// Checks that the outputs of an op's parts are 0, 1, 2 … in some order, and counts them.
fn outputs(indices: impl Iterator<Item = i64>, most: usize) -> Result<u32, String> {
    let mut taken = vec![false; most];
    for index in indices.filter(|index| *index != pb::SKIP_OUTPUT) {
        match usize::try_from(index).ok().and_then(|position| taken.get_mut(position)) {
            Some(slot) if !*slot => *slot = true,
            Some(_) => return Err(format!("output {index} is written twice")),
            None => return Err(format!("invalid output index {index}")),
        }
    }
    let count = taken.iter().take_while(|slot| **slot).count();
    if taken.iter().skip(count).any(|slot| *slot) {
        return Err("outputs leave a gap".to_owned());
    }
    u32::try_from(count).map_err(|_| "too many outputs".to_owned())
}

fn known<T: TryFrom<i32>>(value: i32, what: &str) -> Result<T, String> {
    T::try_from(value).map_err(|_| format!("invalid {what} {value}"))
}
