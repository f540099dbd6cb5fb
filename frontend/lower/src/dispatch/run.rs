//! `RUN`.

use std::borrow::Cow;
use std::collections::HashMap;

use rbuild_dockerfile::instruction::{Mount, MountKind, Network, Run, Script, Security};
use rbuild_dockerfile::{Environment as _, Lexer, Place, Statement};
use rbuild_graph::{Output, pb};

use super::Walk;
use super::mounts::Mounts;
use crate::error::{Fallible, fail};
use crate::names::{named, shown, with_command};
use crate::request::Entitlement;
use crate::source_op;
use crate::stages::Command;

/// Where the script of a lone heredoc is mounted.
const PIPES: &str = "/dev/pipes/";

impl Walk<'_, '_> {
    pub(super) fn run(&mut self, command: &Command<'_>, run: &Run) -> Fallible<()> {
        let at = command.statement.as_ref();
        let paths = self.state.paths;
        self.front.paths[paths].insert("/".to_owned());
        let read = self.read_mounts(at, run)?;
        let mut mounts = Mounts::default();
        let args = self.words_of(run, &mut mounts);
        if args.is_empty() {
            return Err(fail(at.place(), "RUN has no command: its list is empty"));
        }
        let own = self.mounts(command, &read)?;
        mounts.files.extend(own.files);
        let mounts = Mounts { files: mounts.files, ..own };
        let name = self.run_name(command, run, &read);
        let history = self.run_history(&args);
        let (exec, inputs) = self.exec(at, run, args, mounts)?;
        let words = exec.meta.iter().flat_map(|meta| meta.args.iter().chain(&meta.env));
        let size = words.map(|word| word.len() + size_of::<String>()).sum::<usize>() + name.len();
        self.front.spend(size, self.at)?;
        let mut metadata = with_command(named(name), &at.original);
        metadata.ignore_cache = self.state.own.ignore_cache;
        metadata.linux_resources.clone_from(&self.front.request.resources);
        let platform = self.state.exec_platform.clone().unwrap_or_else(|| self.front.target_platform.clone());
        let locations = self.locations(at);
        let kind = pb::Kind::Exec(exec);
        self.state.output =
            Some(source_op::add(&mut self.front.builder, kind, Some(&platform), inputs, &metadata, &locations));
        self.commit(history, true)
    }

    /// Returns program and arguments; a script of its own is mounted (F038-F040).
    fn words_of(&mut self, run: &Run, mounts: &mut Mounts) -> Vec<String> {
        match run.script() {
            Script::Exec(words) => words,
            Script::Shell(text) => self.state.with_shell(text),
            Script::File { name, content } => {
                let (output, _) = self.inline_file(&name, &content, 0o755);
                let mount = pb::Mount {
                    selector: "/".to_owned(),
                    dest: PIPES.to_owned(),
                    output: pb::SKIP_OUTPUT,
                    readonly: true,
                    ..pb::Mount::default()
                };
                mounts.files.push((Some(output), mount));
                self.state.with_shell(crate::path::join(PIPES, &name))
            }
        }
    }

    /// Returns the name of the step; values of secrets in variables are never shown (M018).
    fn run_name(&mut self, command: &Command<'_>, run: &Run, mounts: &[(Mount, Place)]) -> String {
        let mut text = command.statement.original.clone();
        if let Some(summary) = summary(run) {
            text.push_str(&format!(" ({summary})"));
        }
        let mut variables = Cow::Borrowed(&self.state.variables);
        let secrets = mounts.iter().filter(|(mount, _)| mount.kind == MountKind::Secret);
        secrets.filter_map(|(mount, _)| mount.env.as_deref()).for_each(|name| variables.to_mut().set(name, "****"));
        let text = shown(Lexer::progress(self.front.dockerfile.escape), &text, &variables);
        self.step_name(&text, command)
    }

    /// R014: `RUN |N name=value … command # buildkit`; of an argument declared twice the last value stands
    /// at the first place.
    fn run_history(&self, args: &[String]) -> String {
        let mut values: Vec<(&str, String)> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (name, value) in &self.state.build_args {
            let current = self.state.variables.get(name).map(str::to_owned);
            let value = current.or_else(|| value.clone()).unwrap_or_default();
            match places.get(name.as_str()) {
                Some(place) => values[*place].1 = value,
                None => {
                    places.insert(name, values.len());
                    values.push((name, value));
                }
            }
        }
        let mut words = Vec::new();
        if !values.is_empty() {
            words.push(format!("|{}", values.len()));
            words.extend(values.into_iter().map(|(name, value)| format!("{name}={value}")));
        }
        words.extend(args.iter().cloned());
        format!("RUN {} # buildkit", words.join(" "))
    }

    fn exec(
        &self,
        at: &Statement,
        run: &Run,
        args: Vec<String>,
        mounts: Mounts,
    ) -> Fallible<(pb::ExecOp, Vec<Output>)> {
        let request = self.front.request;
        let network = match run.network {
            Network::Default => request.network,
            Network::None => pb::NetMode::None,
            Network::Host => pb::NetMode::Host,
        };
        let security = match run.security {
            Security::Sandbox => pb::SecurityMode::Sandbox,
            Security::Insecure => pb::SecurityMode::Insecure,
        };
        self.require(at, network == pb::NetMode::Host, Entitlement::NetworkHost)?;
        self.require(at, security == pb::SecurityMode::Insecure, Entitlement::SecurityInsecure)?;
        let own =
            run.devices.iter().map(|device| pb::CdiDevice { name: device.name.clone(), optional: !device.required });
        let meta = self.meta(args, &mounts);
        let (mounts, inputs, secretenv) = self.order(mounts);
        let exec = pb::ExecOp {
            meta: Some(meta),
            mounts,
            network: network.into(),
            security: security.into(),
            secretenv,
            cdi_devices: request.devices.iter().cloned().chain(own).collect(),
        };
        Ok((exec, inputs))
    }

    fn require(&self, at: &Statement, needed: bool, entitlement: Entitlement) -> Fallible<()> {
        if !needed || self.front.request.allow.contains(&entitlement) {
            return Ok(());
        }
        let mut error = fail(at.place(), format!("entitlement {} is not allowed", entitlement.name()));
        error.hint = Some(format!("grant it with --allow {}", entitlement.name()));
        Err(error)
    }

    fn meta(&self, args: Vec<String>, mounts: &Mounts) -> pb::Meta {
        let request = self.front.request;
        let mut variables = self.state.variables.clone();
        if let Some(agent) = mounts.agents.first().filter(|_| variables.get("SSH_AUTH_SOCK").is_none()) {
            variables.set("SSH_AUTH_SOCK", agent.dest.clone());
        }
        let given = self.front.globals.build_args.get("BUILDKIT_SANDBOX_HOSTNAME").filter(|name| !name.is_empty());
        let hosts = request.add_hosts.iter();
        pb::Meta {
            args,
            env: variables.to_list(),
            cwd: self.state.directory.clone(),
            user: self.state.user.clone(),
            proxy_env: proxy(&self.front.globals.build_args),
            extra_hosts: hosts.map(|(host, ip)| pb::HostIp { host: host.clone(), ip: ip.to_string() }).collect(),
            hostname: given.or(request.hostname.as_ref()).cloned().unwrap_or_default(),
            ulimit: request.ulimits.clone(),
            cgroup_parent: request.cgroup_parent.clone().unwrap_or_default(),
            remove_mount_stubs_recursive: true,
            valid_exit_codes: Vec::new(),
        }
    }

    /// Puts the mounts in the order of their paths, the root first, and numbers their inputs.
    fn order(&self, mounts: Mounts) -> (Vec<pb::Mount>, Vec<Output>, Vec<pb::SecretEnv>) {
        let root = pb::Mount { dest: pb::ROOT_MOUNT.to_owned(), ..pb::Mount::default() };
        let mut files = vec![(self.state.output, root)];
        files.extend(mounts.files);
        if self.front.request.shm_size > 0 {
            let size = i64::try_from(self.front.request.shm_size).unwrap_or(i64::MAX);
            let shm = pb::Mount {
                dest: "/dev/shm".to_owned(),
                output: pb::SKIP_OUTPUT,
                mount_type: pb::MountType::Tmpfs.into(),
                tmpfs_opt: Some(pb::TmpfsOpt { size }),
                ..pb::Mount::default()
            };
            files.push((None, shm));
        }
        files.sort_by(|(_, a), (_, b)| a.dest.cmp(&b.dest));
        let mut inputs: Vec<Output> = Vec::new();
        let mut ordered = Vec::new();
        for (from, mut mount) in files {
            mount.input = from.map_or(pb::EMPTY, |from| {
                let position = inputs.iter().position(|input| *input == from).unwrap_or_else(|| {
                    inputs.push(from);
                    inputs.len() - 1
                });
                i64::try_from(position).expect("positions in memory are small")
            });
            ordered.push(mount);
        }
        ordered.extend(mounts.secrets);
        ordered.extend(mounts.agents);
        (ordered, inputs, mounts.secret_variables)
    }
}

/// Returns the beginning of a lone heredoc, for the name of the step.
fn summary(run: &Run) -> Option<String> {
    let [file] = run.heredocs.as_slice() else {
        return None;
    };
    let lone = match run.script() {
        Script::File { .. } => true,
        Script::Shell(text) => !text.ends_with(&format!("\n{}{}", file.content, file.name)),
        Script::Exec(_) => false,
    };
    let text = file.content.trim().replace("\r\n", "\n");
    let mut lines = text.split('\n');
    let first = lines.next().unwrap_or_default().to_owned();
    let more = if lines.next().is_some() { "..." } else { "" };
    lone.then(|| format!("{first}{more}"))
}

/// A010: proxy settings are given to every step without being part of what it is.
fn proxy(build_args: &std::collections::BTreeMap<String, String>) -> Option<pb::ProxyEnv> {
    let mut proxy = pb::ProxyEnv::default();
    let mut any = false;
    for (name, value) in build_args {
        let place = match name.to_ascii_lowercase().as_str() {
            "http_proxy" => &mut proxy.http_proxy,
            "https_proxy" => &mut proxy.https_proxy,
            "ftp_proxy" => &mut proxy.ftp_proxy,
            "no_proxy" => &mut proxy.no_proxy,
            "all_proxy" => &mut proxy.all_proxy,
            _ => continue,
        };
        place.clone_from(value);
        any = true;
    }
    any.then_some(proxy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a010_proxies() {
        let args = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), "p".to_owned())).collect();
        assert_eq!(proxy(&args(&["OTHER"])), None);
        let proxy = proxy(&args(&["HTTP_PROXY", "No_Proxy"])).unwrap();
        assert_eq!((proxy.http_proxy.as_str(), proxy.no_proxy.as_str(), proxy.all_proxy.as_str()), ("p", "p", ""));
    }
}
