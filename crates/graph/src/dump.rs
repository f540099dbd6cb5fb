//! A graph as text for people: a numbered list of all that its ops say.

use std::fmt::{self, Write as _};

use crate::{Graph, Operand, Vertex, pb};

impl Graph {
    /// Lists the vertices, inputs first, one paragraph each, with all that they do.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for (position, vertex) in self.vertices().iter().enumerate() {
            self.write_vertex(&mut out, position, vertex).expect("a string takes everything");
        }
        match self.root() {
            Some(edge) => writeln!(out, "result {}", self.short(edge)),
            None => writeln!(out, "result scratch"),
        }
        .expect("a string takes everything");
        out
    }

    fn short(&self, edge: crate::Edge) -> String {
        let position = self.position(&edge.vertex).map_or(0, |position| position + 1);
        if edge.output == 0 { format!("#{position}") } else { format!("#{position}:{}", edge.output) }
    }

    fn operand(&self, vertex: &Vertex, index: i64) -> String {
        match vertex.operand(index) {
            Operand::Scratch => "scratch".to_owned(),
            Operand::Input(input) => self.short(vertex.inputs[input]),
            Operand::Action(action) => format!("action {action}"),
        }
    }

    fn write_vertex(&self, out: &mut String, position: usize, vertex: &Vertex) -> fmt::Result {
        writeln!(out, "#{} {}", position + 1, one_line(&vertex.name))?;
        if let Some(platform) = &vertex.op.platform {
            let variant = if platform.variant.is_empty() { String::new() } else { format!("/{}", platform.variant) };
            writeln!(out, "  platform {}/{}{variant}", platform.os, platform.architecture)?;
        }
        match vertex.kind() {
            pb::Kind::Source(source) => {
                writeln!(out, "  source {}", source.identifier)?;
                source.attrs.iter().try_for_each(|(key, value)| writeln!(out, "    {key}={}", one_line(value)))?;
            }
            pb::Kind::Exec(exec) => self.write_exec(out, vertex, exec)?,
            pb::Kind::File(file) => {
                file.actions.iter().try_for_each(|action| self.write_action(out, vertex, action))?
            }
            pb::Kind::Merge(merge) => {
                let sides = merge.inputs.iter().map(|side| self.operand(vertex, side.input));
                writeln!(out, "  merge {}", sides.collect::<Vec<_>>().join(" "))?;
            }
            pb::Kind::Diff(diff) => {
                let side =
                    |side: Option<pb::DiffInput>| self.operand(vertex, side.map_or(pb::EMPTY, |side| side.input));
                writeln!(out, "  diff {} {}", side(diff.lower), side(diff.upper))?;
            }
            pb::Kind::Build(_) => writeln!(out, "  build")?,
            pb::Kind::Passthrough(passthrough) => writeln!(out, "  passthrough {}", passthrough.id)?,
        }
        if vertex.metadata.ignore_cache {
            writeln!(out, "  ignore-cache")?;
        }
        if let Some(limits) = &vertex.metadata.linux_resources {
            writeln!(out, "  limits {limits:?}")?;
        }
        Ok(())
    }

    fn write_exec(&self, out: &mut String, vertex: &Vertex, exec: &pb::ExecOp) -> fmt::Result {
        let meta = exec.meta.as_ref().expect("loading refuses exec ops without a process");
        writeln!(out, "  exec {:?}", meta.args)?;
        meta.env.iter().try_for_each(|variable| writeln!(out, "    env {}", one_line(variable)))?;
        writeln!(out, "    cwd {}", meta.cwd)?;
        for (key, value) in [("user", &meta.user), ("hostname", &meta.hostname), ("cgroup-parent", &meta.cgroup_parent)]
        {
            if !value.is_empty() {
                writeln!(out, "    {key} {value}")?;
            }
        }
        if exec.network != 0 {
            writeln!(out, "    network {:?}", exec.network())?;
        }
        if exec.security != 0 {
            writeln!(out, "    security {:?}", exec.security())?;
        }
        if let Some(proxy) = &meta.proxy_env {
            writeln!(
                out,
                "    proxy {} {} {} {} {}",
                proxy.http_proxy, proxy.https_proxy, proxy.ftp_proxy, proxy.no_proxy, proxy.all_proxy
            )?;
        }
        meta.extra_hosts.iter().try_for_each(|host| writeln!(out, "    host {} {}", host.host, host.ip))?;
        meta.ulimit
            .iter()
            .try_for_each(|limit| writeln!(out, "    ulimit {}={}:{}", limit.name, limit.soft, limit.hard))?;
        for secret in &exec.secretenv {
            writeln!(out, "    secret-env {}={}{}", secret.name, secret.id, flag(secret.optional, " optional"))?;
        }
        for device in &exec.cdi_devices {
            writeln!(out, "    device {}{}", device.name, flag(device.optional, " optional"))?;
        }
        exec.mounts.iter().try_for_each(|mount| self.write_mount(out, vertex, mount))
    }

    fn write_mount(&self, out: &mut String, vertex: &Vertex, mount: &pb::Mount) -> fmt::Result {
        let kind = format!("{:?}", mount.mount_type()).to_lowercase();
        write!(out, "    mount {} {kind} {}{}", mount.dest, self.operand(vertex, mount.input), mount.selector)?;
        write!(out, "{}", flag(mount.readonly, " ro"))?;
        if mount.mount_type() == pb::MountType::Bind && mount.output != pb::SKIP_OUTPUT {
            write!(out, " output={}", mount.output)?;
        }
        if let Some(cache) = &mount.cache_opt {
            write!(out, " id={} {:?}", cache.id, cache.sharing())?;
        }
        if let Some(tmpfs) = &mount.tmpfs_opt {
            write!(out, " size={}", tmpfs.size)?;
        }
        let secret = mount.secret_opt.as_ref().map(|opt| (&opt.id, opt.uid, opt.gid, opt.mode, opt.optional));
        let ssh = mount.ssh_opt.as_ref().map(|opt| (&opt.id, opt.uid, opt.gid, opt.mode, opt.optional));
        if let Some((id, uid, gid, mode, optional)) = secret.or(ssh) {
            write!(out, " id={id} {uid}:{gid} {mode:04o}{}", flag(optional, " optional"))?;
        }
        writeln!(out)
    }

    fn write_action(&self, out: &mut String, vertex: &Vertex, action: &pb::FileAction) -> fmt::Result {
        let input = self.operand(vertex, action.input);
        let (owner, timestamp) = match action.action.as_ref().expect("loading refuses actions that do nothing") {
            pb::Action::Copy(copy) => {
                let from = self.operand(vertex, action.secondary_input);
                write!(out, "  copy {from} {} -> {input} {}", copy.src, copy.dest)?;
                write_copy_flags(out, copy)?;
                (&copy.owner, copy.timestamp)
            }
            pb::Action::Mkfile(mkfile) => {
                write!(
                    out,
                    "  mkfile {input} {} {:04o} {:?}",
                    mkfile.path,
                    mkfile.mode,
                    String::from_utf8_lossy(&mkfile.data)
                )?;
                (&mkfile.owner, mkfile.timestamp)
            }
            pb::Action::Mkdir(mkdir) => {
                write!(
                    out,
                    "  mkdir {input} {} {:04o}{}",
                    mkdir.path,
                    mkdir.mode,
                    flag(mkdir.make_parents, " parents")
                )?;
                (&mkdir.owner, mkdir.timestamp)
            }
            pb::Action::Symlink(symlink) => {
                write!(out, "  symlink {input} {} -> {}", symlink.newpath, symlink.oldpath)?;
                (&symlink.owner, symlink.timestamp)
            }
            pb::Action::Rm(rm) => {
                write!(out, "  rm {input} {}", rm.path)?;
                (&None, -1)
            }
        };
        if let Some(owner) = owner {
            let shown =
                [&owner.user, &owner.group].map(|id| id.as_ref().map(|id| self.user(vertex, id)).unwrap_or_default());
            write!(out, " owner={}", shown.join(":"))?;
        }
        if timestamp != -1 {
            write!(out, " time={timestamp}")?;
        }
        writeln!(out)
    }

    fn user(&self, vertex: &Vertex, id: &pb::UserOpt) -> String {
        match &id.user {
            Some(pb::User::ByName(named)) => format!("{}@{}", named.name, self.operand(vertex, named.input)),
            Some(pb::User::ById(id)) => id.to_string(),
            None => String::new(),
        }
    }
}

fn write_copy_flags(out: &mut String, copy: &pb::FileActionCopy) -> fmt::Result {
    let flags = [
        (copy.follow_symlink, " follow"),
        (copy.dir_copy_contents, " contents"),
        (copy.attempt_unpack_docker_compatibility, " unpack"),
        (copy.create_dest_path, " parents"),
        (copy.allow_wildcard, " wildcard"),
        (copy.allow_empty_wildcard, " empty-wildcard"),
        (copy.always_replace_existing_dest_paths, " replace"),
    ];
    flags.into_iter().try_for_each(|(set, text)| out.write_str(flag(set, text)))?;
    let lists =
        [("include", &copy.include_patterns), ("exclude", &copy.exclude_patterns), ("required", &copy.required_paths)];
    for (name, list) in lists {
        if !list.is_empty() {
            write!(out, " {name}={list:?}")?;
        }
    }
    match copy.mode_str.as_str() {
        "" if copy.mode == -1 => Ok(()),
        "" => write!(out, " mode={:04o}", copy.mode),
        symbolic => write!(out, " mode={symbolic}"),
    }
}

fn flag(set: bool, text: &'static str) -> &'static str {
    if set { text } else { "" }
}

fn one_line(text: &str) -> String {
    text.replace('\n', "\\n").replace('\r', "\\r")
}
