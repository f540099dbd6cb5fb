//! Operations as JSON, in the shape that BuildKit's tools read: what is zero or empty is left out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rbuild_graph::pb;
use serde_json::{Map, Value, json};

/// An object whose fields are there only if they say something.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn put(mut self, key: &str, value: Value) -> Self {
        self.0.insert(key.to_owned(), value);
        self
    }

    /// Adds what is not the least of its type.
    fn with(self, key: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        let says_nothing = match &value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty(),
            Value::Number(number) => number.as_i64() == Some(0),
            Value::Array(list) => list.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            Value::Bool(true) => false,
        };
        if says_nothing { self } else { self.put(key, value) }
    }

    /// Adds a message even if it says nothing, as long as it is there.
    fn message<M>(self, key: &str, message: Option<&M>, object: impl FnOnce(&M) -> Object) -> Self {
        match message {
            Some(message) => self.put(key, object(message).into()),
            None => self,
        }
    }

    fn messages<M>(self, key: &str, messages: &[M], object: impl Fn(&M) -> Object) -> Self {
        let list: Vec<Value> = messages.iter().map(|message| object(message).into()).collect();
        self.with(key, list)
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::Object(object.0)
    }
}

fn text(text: &str) -> Value {
    text.into()
}

pub(super) fn base64(bytes: &Bytes) -> String {
    STANDARD.encode(bytes)
}

/// Returns an operation as the JSON of its message, in which a choice among fields has no name of its own.
pub(crate) fn message(op: &pb::Op) -> Value {
    let input = |input: &pb::Input| Object::default().with("digest", text(&input.digest)).with("index", input.index);
    let mut value = operation(op);
    unwrap_choices(&mut value);
    let inputs: Vec<Value> = op.inputs.iter().map(|found| input(found).into()).collect();
    value["inputs"] = inputs.into();
    value
}

/// Puts the fields of choices into what they belong to. Names that clients choose have text for values.
fn unwrap_choices(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for choice in ["Op", "Action", "User"] {
                if let Some(Value::Object(_)) = fields.get(choice)
                    && let Some(Value::Object(chosen)) = fields.remove(choice)
                {
                    fields.extend(chosen);
                }
            }
            fields.values_mut().for_each(unwrap_choices);
        }
        Value::Array(values) => values.iter_mut().for_each(unwrap_choices),
        _ => {}
    }
}

/// Returns an operation without its inputs, which are told apart.
pub(super) fn operation(op: &pb::Op) -> Value {
    let kind = match &op.op {
        None => Object::default(),
        Some(pb::Kind::Exec(op)) => Object::default().put("exec", exec(op).into()),
        Some(pb::Kind::Source(op)) => Object::default().put("source", source(op).into()),
        Some(pb::Kind::File(op)) => {
            Object::default().put("file", Object::default().messages("actions", &op.actions, action).into())
        }
        Some(pb::Kind::Build(op)) => Object::default().put("build", build(op).into()),
        Some(pb::Kind::Merge(op)) => {
            let input = |input: &pb::MergeInput| Object::default().with("input", input.input);
            Object::default().put("merge", Object::default().messages("inputs", &op.inputs, input).into())
        }
        Some(pb::Kind::Diff(op)) => {
            let input = |input: &pb::DiffInput| Object::default().with("input", input.input);
            let sides = Object::default().message("lower", op.lower.as_ref(), input);
            Object::default().put("diff", sides.message("upper", op.upper.as_ref(), input).into())
        }
        Some(pb::Kind::Passthrough(op)) => {
            let parts = Object::default().with("id", text(&op.id)).with("outputs", op.outputs.clone());
            Object::default().put("passthrough", parts.into())
        }
    };
    let object = Object::default().put("Op", kind.into()).message("platform", op.platform.as_ref(), platform);
    object
        .message("constraints", op.constraints.as_ref(), |found| Object::default().with("filter", found.filter.clone()))
        .into()
}

fn platform(platform: &pb::Platform) -> Object {
    Object::default()
        .with("Architecture", text(&platform.architecture))
        .with("OS", text(&platform.os))
        .with("Variant", text(&platform.variant))
        .with("OSVersion", text(&platform.os_version))
        .with("OSFeatures", platform.os_features.clone())
}

/// Which session a directory comes from says nothing of the build.
fn source(op: &pb::SourceOp) -> Object {
    use rbuild_graph::source::attr::{LOCAL_SESSION_ID, LOCAL_UNIQUE_ID};
    let told = op.attrs.iter().filter(|(key, _)| ![LOCAL_SESSION_ID, LOCAL_UNIQUE_ID].contains(&key.as_str()));
    let attributes: Map<String, Value> = told.map(|(key, value)| (key.clone(), text(value))).collect();
    Object::default().with("identifier", text(&op.identifier)).with("attrs", attributes)
}

fn exec(op: &pb::ExecOp) -> Object {
    let secret = |secret: &pb::SecretEnv| {
        let named = Object::default().with("ID", text(&secret.id)).with("name", text(&secret.name));
        named.with("optional", secret.optional)
    };
    let device =
        |device: &pb::CdiDevice| Object::default().with("name", text(&device.name)).with("optional", device.optional);
    Object::default()
        .message("meta", op.meta.as_ref(), process)
        .messages("mounts", &op.mounts, mount)
        .with("network", op.network)
        .with("security", op.security)
        .messages("secretenv", &op.secretenv, secret)
        .messages("cdiDevices", &op.cdi_devices, device)
}

fn process(meta: &pb::Meta) -> Object {
    let proxy = |proxy: &pb::ProxyEnv| {
        Object::default()
            .with("http_proxy", text(&proxy.http_proxy))
            .with("https_proxy", text(&proxy.https_proxy))
            .with("ftp_proxy", text(&proxy.ftp_proxy))
            .with("no_proxy", text(&proxy.no_proxy))
            .with("all_proxy", text(&proxy.all_proxy))
    };
    let host = |host: &pb::HostIp| Object::default().with("Host", text(&host.host)).with("IP", text(&host.ip));
    let limit = |limit: &pb::Ulimit| {
        Object::default().with("Name", text(&limit.name)).with("Soft", limit.soft).with("Hard", limit.hard)
    };
    Object::default()
        .with("args", meta.args.clone())
        .with("env", meta.env.clone())
        .with("cwd", text(&meta.cwd))
        .with("user", text(&meta.user))
        .message("proxy_env", meta.proxy_env.as_ref(), proxy)
        .messages("extraHosts", &meta.extra_hosts, host)
        .with("hostname", text(&meta.hostname))
        .messages("ulimit", &meta.ulimit, limit)
        .with("cgroupParent", text(&meta.cgroup_parent))
        .with("removeMountStubsRecursive", meta.remove_mount_stubs_recursive)
        .with("validExitCodes", meta.valid_exit_codes.clone())
}

fn mount(mount: &pb::Mount) -> Object {
    let owned = |id: &str, uid: u32, gid: u32, mode: u32, optional: bool| {
        let named = Object::default().with("ID", text(id)).with("uid", uid).with("gid", gid);
        named.with("mode", mode).with("optional", optional)
    };
    let cache = |cache: &pb::CacheOpt| Object::default().with("ID", text(&cache.id)).with("sharing", cache.sharing);
    Object::default()
        .with("input", mount.input)
        .with("selector", text(&mount.selector))
        .with("dest", text(&mount.dest))
        .with("output", mount.output)
        .with("readonly", mount.readonly)
        .with("mountType", mount.mount_type)
        .message("TmpfsOpt", mount.tmpfs_opt.as_ref(), |tmpfs| Object::default().with("size", tmpfs.size))
        .message("cacheOpt", mount.cache_opt.as_ref(), cache)
        .message("secretOpt", mount.secret_opt.as_ref(), |o| owned(&o.id, o.uid, o.gid, o.mode, o.optional))
        .message("SSHOpt", mount.ssh_opt.as_ref(), |o| owned(&o.id, o.uid, o.gid, o.mode, o.optional))
        .with("resultID", text(&mount.result_id))
        .with("contentCache", mount.content_cache)
}

fn build(op: &pb::BuildOp) -> Object {
    let inputs: Map<String, Value> = op
        .inputs
        .iter()
        .map(|(name, input)| (name.clone(), Object::default().with("input", input.input).into()))
        .collect();
    let definition = |definition: &pb::Definition| {
        let ops: Vec<Value> = definition.def.iter().map(|bytes| base64(bytes).into()).collect();
        Object::default().with("def", ops)
    };
    Object::default()
        .with("builder", op.builder)
        .with("inputs", inputs)
        .message("def", op.def.as_ref(), definition)
        .with("attrs", json!(op.attrs))
}

fn action(action: &pb::FileAction) -> Object {
    let change = match &action.action {
        None => Object::default(),
        Some(pb::Action::Copy(copy)) => Object::default().put("copy", self::copy(copy).into()),
        Some(pb::Action::Mkfile(file)) => {
            let made = Object::default().with("path", text(&file.path)).with("mode", file.mode);
            let made = made.with("data", base64(&file.data)).message("owner", file.owner.as_ref(), owner);
            Object::default().put("mkfile", made.with("timestamp", file.timestamp).into())
        }
        Some(pb::Action::Mkdir(directory)) => {
            let made = Object::default().with("path", text(&directory.path)).with("mode", directory.mode);
            let made = made.with("makeParents", directory.make_parents);
            let made = made.message("owner", directory.owner.as_ref(), owner).with("timestamp", directory.timestamp);
            Object::default().put("mkdir", made.into())
        }
        Some(pb::Action::Rm(removal)) => {
            let removed = Object::default().with("path", text(&removal.path));
            let removed = removed.with("allowNotFound", removal.allow_not_found);
            Object::default().put("rm", removed.with("allowWildcard", removal.allow_wildcard).into())
        }
        Some(pb::Action::Symlink(link)) => {
            let made = Object::default().with("oldpath", text(&link.oldpath)).with("newpath", text(&link.newpath));
            let made = made.message("owner", link.owner.as_ref(), owner).with("timestamp", link.timestamp);
            Object::default().put("symlink", made.into())
        }
    };
    Object::default()
        .put("input", action.input.into())
        .put("secondaryInput", action.secondary_input.into())
        .put("output", action.output.into())
        .put("Action", change.into())
}

fn copy(copy: &pb::FileActionCopy) -> Object {
    Object::default()
        .with("src", text(&copy.src))
        .with("dest", text(&copy.dest))
        .message("owner", copy.owner.as_ref(), owner)
        .with("mode", copy.mode)
        .with("followSymlink", copy.follow_symlink)
        .with("dirCopyContents", copy.dir_copy_contents)
        .with("attemptUnpackDockerCompatibility", copy.attempt_unpack_docker_compatibility)
        .with("createDestPath", copy.create_dest_path)
        .with("allowWildcard", copy.allow_wildcard)
        .with("allowEmptyWildcard", copy.allow_empty_wildcard)
        .with("timestamp", copy.timestamp)
        .with("include_patterns", copy.include_patterns.clone())
        .with("exclude_patterns", copy.exclude_patterns.clone())
        .with("alwaysReplaceExistingDestPaths", copy.always_replace_existing_dest_paths)
        .with("modeStr", text(&copy.mode_str))
        .with("required_paths", copy.required_paths.clone())
}

fn owner(owner: &pb::ChownOpt) -> Object {
    let named = |user: &pb::UserOpt| {
        let user = match &user.user {
            None => Object::default(),
            Some(pb::User::ByName(user)) => {
                let named = Object::default().with("name", text(&user.name)).with("input", user.input);
                Object::default().put("byName", named.into())
            }
            Some(pb::User::ById(id)) => Object::default().with("byId", *id),
        };
        Object::default().put("User", user.into())
    };
    Object::default().message("user", owner.user.as_ref(), named).message("group", owner.group.as_ref(), named)
}
