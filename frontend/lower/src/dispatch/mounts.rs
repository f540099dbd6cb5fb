//! `RUN --mount` (inventory M001-M022).

use std::collections::BTreeMap;

use rbuild_dockerfile::instruction::{Mount, MountError, MountFlag, MountKind, Run, Sharing};
use rbuild_dockerfile::{Diagnostic, Phase, Place, Statement};
use rbuild_graph::{Output, pb};

use super::Walk;
use crate::error::{Fallible, fail};
use crate::names::named;
use crate::stages::{Command, Source};
use crate::{path, source_op};

/// The build argument that keeps the caches of one project apart.
const CACHE_NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

/// What the mounts of a `RUN` become.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// Mounts of file systems, with what is mounted.
    pub(super) files: Vec<(Option<Output>, pb::Mount)>,
    pub(super) secrets: Vec<pb::Mount>,
    pub(super) secret_variables: Vec<pb::SecretEnv>,
    pub(super) agents: Vec<pb::Mount>,
}

impl Walk<'_, '_> {
    /// Reads all mounts with their variables replaced (M002).
    pub(super) fn read_mounts(&mut self, at: &Statement, run: &Run) -> Fallible<Vec<(Mount, Place)>> {
        let mut mounts = Vec::new();
        for flag in &run.mounts {
            let place = Place { span: flag.text.span, lines: at.lines };
            mounts.push((self.read_mount(at, flag, place)?, place));
        }
        Ok(mounts)
    }

    fn read_mount(&mut self, at: &Statement, flag: &MountFlag, place: Place) -> Fallible<Mount> {
        let (lexer, variables) = (self.front.lexer, &self.state.variables);
        let mut unset = Default::default();
        let read = flag.resolve(|value| {
            let expansion = lexer.word(value, variables);
            let missed = expansion.as_ref().map_or_else(|error| &error.unset, |expansion| &expansion.unset);
            std::collections::BTreeSet::extend(&mut unset, missed.iter().cloned());
            expansion.map(|expansion| expansion.value)
        });
        self.report_unset(at, &unset);
        read.map_err(|error: MountError| {
            let suggestion = error.suggestion().map(str::to_owned);
            Box::new(Diagnostic::error(Phase::Build, place, error.to_string()).with_suggestion(suggestion))
        })
    }

    pub(super) fn mounts(&mut self, command: &Command<'_>, mounts: &[(Mount, Place)]) -> Fallible<Mounts> {
        let mut out = Mounts::default();
        let sources = command.sources.iter().copied().chain(std::iter::repeat(Source::Default));
        for ((mount, place), source) in mounts.iter().zip(sources) {
            match mount.kind {
                MountKind::Secret => self.secret(mount, *place, &mut out)?,
                MountKind::Ssh => self.agent(mount, *place, &mut out)?,
                MountKind::Bind | MountKind::Cache | MountKind::Tmpfs => {
                    let made = self.file_mount(mount, source, *place)?;
                    out.files.push(made);
                }
            }
        }
        for (position, agent) in out.agents.iter_mut().enumerate().filter(|(_, agent)| agent.dest.is_empty()) {
            agent.dest = format!("/run/buildkit/ssh_agent.{position}");
        }
        Ok(out)
    }

    fn file_mount(&mut self, mount: &Mount, source: Source, place: Place) -> Fallible<(Option<Output>, pb::Mount)> {
        let target = mount.target.as_deref().unwrap_or("");
        let source = match (mount.kind, source) {
            (MountKind::Cache, Source::Default) => Source::Scratch,
            (_, source) => source,
        };
        let shown = if mount.kind == MountKind::Tmpfs { Source::Scratch } else { source };
        let mut input = self.mount_source(mount, shown, target, place)?;
        let mut made = pb::Mount {
            dest: if path::is_absolute(target) {
                target.to_owned()
            } else {
                path::join("/", &format!("{}/{target}", self.state.directory))
            },
            readonly: mount.read_only,
            output: pb::SKIP_OUTPUT,
            ..pb::Mount::default()
        };
        not_the_root(&made.dest, place)?;
        match mount.kind {
            MountKind::Tmpfs => {
                made.mount_type = pb::MountType::Tmpfs.into();
                made.tmpfs_opt = Some(pb::TmpfsOpt { size: mount.size });
            }
            MountKind::Cache => {
                made.mount_type = pb::MountType::Cache.into();
                made.cache_opt = Some(self.cache_options(mount, target));
            }
            _ => {}
        }
        let selected = path::join("/", mount.source.as_deref().unwrap_or(""));
        if selected != "/" {
            made.selector.clone_from(&selected);
        } else if mount.uid.is_some() || mount.gid.is_some() || mount.mode.is_some() {
            input = Some(self.cache_directory(mount, input));
            made.selector = "/cache".to_owned();
        }
        // A tmpfs shows nothing of what it stands upon, but BuildKit takes it for used.
        self.use_path(source, &selected);
        Ok((input, made))
    }

    fn mount_source(&self, mount: &Mount, source: Source, target: &str, place: Place) -> Fallible<Option<Output>> {
        match source {
            Source::Default => Ok(self.front.context.output()),
            Source::Scratch => Ok(None),
            Source::Unit(unit) if self.front.walked[unit] && unit != self.unit => {
                Ok(self.front.states[unit].as_ref().and_then(|state| state.output))
            }
            Source::Unit(_) => {
                let from = mount.from.as_deref().unwrap_or("");
                let message = format!(
                    "cannot mount from stage {from:?} to {target:?}, stage needs to be defined before current command"
                );
                Err(fail(place, message))
            }
        }
    }

    fn cache_options(&self, mount: &Mount, target: &str) -> pb::CacheOpt {
        let name = mount.id.clone().unwrap_or_else(|| path::clean(target));
        let namespace = self.front.globals.build_args.get(CACHE_NAMESPACE).map_or("", String::as_str);
        let sharing = match mount.sharing {
            None | Some(Sharing::Shared) => pb::CacheSharing::Shared,
            Some(Sharing::Private) => pb::CacheSharing::Private,
            Some(Sharing::Locked) => pb::CacheSharing::Locked,
        };
        pb::CacheOpt { id: format!("{namespace}/{name}"), sharing: sharing.into() }
    }

    /// M010: owner and mode are those of a new cache only, so they are those of a directory it begins with.
    fn cache_directory(&mut self, mount: &Mount, input: Option<Output>) -> Output {
        let id = |id: Option<u32>| Some(pb::UserOpt { user: Some(pb::User::ById(id.unwrap_or(0))) });
        let mkdir = pb::FileActionMkDir {
            path: "/cache".to_owned(),
            mode: i32::try_from(mount.mode.unwrap_or(0o755) & 0o777).expect("nine bits"),
            make_parents: false,
            owner: Some(pb::ChownOpt { user: id(mount.uid), group: id(mount.gid) }),
            timestamp: -1,
        };
        let base = if input.is_some() { 0 } else { pb::EMPTY };
        let action = pb::FileAction {
            input: base,
            secondary_input: pb::EMPTY,
            output: 0,
            action: Some(pb::Action::Mkdir(mkdir)),
        };
        let kind = pb::Kind::File(pb::FileOp { actions: vec![action] });
        let metadata = named("[internal] setting cache mount permissions");
        source_op::add(&mut self.front.builder, kind, None, input.into_iter().collect(), &metadata, &[])
    }

    /// M017
    fn secret(&mut self, mount: &Mount, place: Place, out: &mut Mounts) -> Fallible<()> {
        let named = mount.source.clone().or_else(|| mount.id.clone());
        let target = mount.target.clone();
        let id = named.or_else(|| target.as_deref().map(|target| path::base(target).to_owned()));
        let id = id.ok_or_else(|| fail(place, "one of source, target required"))?;
        note(&mut self.state.own.secrets, &id, mount.required, place);
        if let Some(name) = &mount.env {
            let name = name.clone();
            out.secret_variables.push(pb::SecretEnv { id: id.clone(), name, optional: !mount.required });
        }
        let target = match (&mount.env, target) {
            (Some(_), target) => target,
            (None, target) => Some(target.unwrap_or_else(|| format!("/run/secrets/{}", path::base(&id)))),
        };
        if let Some(dest) = target {
            not_the_root(&dest, place)?;
            let mode = mount.mode.unwrap_or(0o400);
            let (uid, gid) = (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0));
            let secret_opt = Some(pb::SecretOpt { id, uid, gid, mode, optional: !mount.required });
            let mount_type = pb::MountType::Secret.into();
            out.secrets.push(pb::Mount { input: pb::EMPTY, dest, mount_type, secret_opt, ..pb::Mount::default() });
        }
        Ok(())
    }

    /// M020
    fn agent(&mut self, mount: &Mount, place: Place, out: &mut Mounts) -> Fallible<()> {
        if mount.source.is_some() {
            return Err(fail(place, "ssh does not support source"));
        }
        let id = mount.id.clone().unwrap_or_default();
        note(&mut self.state.own.ssh, if id.is_empty() { "default" } else { &id }, mount.required, place);
        let mode = mount.mode.unwrap_or(0o600);
        let (uid, gid) = (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0));
        let ssh_opt = Some(pb::SshOpt { id, uid, gid, mode, optional: !mount.required });
        let dest = mount.target.clone().unwrap_or_default();
        if !dest.is_empty() {
            not_the_root(&dest, place)?;
        }
        let mount_type = pb::MountType::Ssh.into();
        out.agents.push(pb::Mount { input: pb::EMPTY, dest, mount_type, ssh_opt, ..pb::Mount::default() });
        Ok(())
    }
}

/// M005: the root is the step's own mount.
fn not_the_root(target: &str, place: Place) -> Fallible<()> {
    if path::clean(&path::join("/", target)) == "/" {
        return Err(fail(place, format!("invalid mount target {target:?}")));
    }
    Ok(())
}

fn note(known: &mut BTreeMap<String, (bool, rbuild_dockerfile::Lines)>, id: &str, required: bool, place: Place) {
    known.entry(id.to_owned()).or_insert((required, place.lines));
}
