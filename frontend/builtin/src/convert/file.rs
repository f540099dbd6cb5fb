//! Ops that change files without a process.

use rbuild_graph::pb;
use serde_json::Value;

use super::fields::Object;

pub(super) fn file(op: &pb::FileOp) -> Value {
    Object::default().list("actions", op.actions.iter().map(action)).value()
}

fn action(action: &pb::FileAction) -> Value {
    let object = Object::default()
        .long("input", action.input)
        .long("secondaryInput", action.secondary_input)
        .long("output", action.output);
    let object = match &action.action {
        None => object,
        Some(pb::Action::Copy(action)) => object.with("copy", copy(action)),
        Some(pb::Action::Mkfile(action)) => object.with("mkfile", mkfile(action)),
        Some(pb::Action::Mkdir(action)) => object.with("mkdir", mkdir(action)),
        Some(pb::Action::Rm(action)) => object.with("rm", remove(action)),
        Some(pb::Action::Symlink(action)) => object.with("symlink", symlink(action)),
    };
    object.value()
}

fn copy(action: &pb::FileActionCopy) -> Value {
    Object::default()
        .text("src", &action.src)
        .text("dest", &action.dest)
        .optional("owner", action.owner.as_ref().map(owner))
        .number("mode", action.mode)
        .flag("followSymlink", action.follow_symlink)
        .flag("dirCopyContents", action.dir_copy_contents)
        .flag("attemptUnpackDockerCompatibility", action.attempt_unpack_docker_compatibility)
        .flag("createDestPath", action.create_dest_path)
        .flag("allowWildcard", action.allow_wildcard)
        .flag("allowEmptyWildcard", action.allow_empty_wildcard)
        .long("timestamp", action.timestamp)
        .words("includePatterns", &action.include_patterns)
        .words("excludePatterns", &action.exclude_patterns)
        .flag("alwaysReplaceExistingDestPaths", action.always_replace_existing_dest_paths)
        .text("modeStr", &action.mode_str)
        .words("requiredPaths", &action.required_paths)
        .value()
}

fn mkfile(action: &pb::FileActionMkFile) -> Value {
    Object::default()
        .text("path", &action.path)
        .number("mode", action.mode)
        .bytes("data", &action.data)
        .optional("owner", action.owner.as_ref().map(owner))
        .long("timestamp", action.timestamp)
        .value()
}

fn mkdir(action: &pb::FileActionMkDir) -> Value {
    Object::default()
        .text("path", &action.path)
        .number("mode", action.mode)
        .flag("makeParents", action.make_parents)
        .optional("owner", action.owner.as_ref().map(owner))
        .long("timestamp", action.timestamp)
        .value()
}

fn remove(action: &pb::FileActionRm) -> Value {
    Object::default()
        .text("path", &action.path)
        .flag("allowNotFound", action.allow_not_found)
        .flag("allowWildcard", action.allow_wildcard)
        .value()
}

fn symlink(action: &pb::FileActionSymlink) -> Value {
    Object::default()
        .text("oldpath", &action.oldpath)
        .text("newpath", &action.newpath)
        .optional("owner", action.owner.as_ref().map(owner))
        .long("timestamp", action.timestamp)
        .value()
}

fn owner(owner: &pb::ChownOpt) -> Value {
    let one = |user: &pb::UserOpt| match &user.user {
        None => Object::default().value(),
        // One of several choices is written even if it is zero.
        Some(pb::User::ById(id)) => Object::default().with("byID", Value::from(*id)).value(),
        Some(pb::User::ByName(named)) => {
            let named = Object::default().text("name", &named.name).long("input", named.input).value();
            Object::default().with("byName", named).value()
        }
    };
    Object::default()
        .optional("user", owner.user.as_ref().map(one))
        .optional("group", owner.group.as_ref().map(one))
        .value()
}
