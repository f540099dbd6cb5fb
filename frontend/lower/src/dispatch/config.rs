//! Instructions that change only the image configuration.

use rbuild_dockerfile::instruction::{
    Arg, ArgDefinition, Cmd, CommandLine, Entrypoint, Env, Expose, Healthcheck, KeyValue, Label, Maintainer, Port,
    Shell, StopSignal, User, Volume,
};
use rbuild_dockerfile::{Environment as _, Place, Statement};
use rbuild_oci::HealthConfig;

use super::{NOT_VARIABLES, Walk};
use crate::error::{Fallible, fail, unexpanded};
use crate::globals::ArgInfo;
use crate::text;
use crate::variables::MAX_VARIABLES;

/// About how many bytes a port takes in memory, with its place in the map and its text in the history.
const PORT_SIZE: usize = 256;

impl Walk<'_, '_> {
    pub(super) fn env(&mut self, at: &Statement, env: &Env) -> Fallible<()> {
        self.front.linter.legacy_key_value(at);
        let pairs = self.pairs(at, &env.variables)?;
        let mut history = "ENV".to_owned();
        for (name, value) in &pairs {
            self.front.linter.secret_name(at, "ENV", name);
            history.push_str(&format!(" {name}={value}"));
        }
        self.state.set_env(&pairs);
        self.commit(history, false)
    }

    pub(super) fn label(&mut self, at: &Statement, label: &Label) -> Fallible<()> {
        self.front.linter.legacy_key_value(at);
        let pairs = self.pairs(at, &label.labels)?;
        let mut history = "LABEL".to_owned();
        for (name, value) in pairs {
            history.push_str(&format!(" {name}={value}"));
            self.state.image.config.labels.insert(name, value);
        }
        self.commit(history, false)
    }

    /// Expands all pairs before any of them is set (S013).
    fn pairs(&mut self, at: &Statement, pairs: &[KeyValue]) -> Fallible<Vec<(String, String)>> {
        self.count_variables(pairs.len())?;
        let mut expanded = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let name = self.expand(at, &pair.key)?;
            expanded.push((name, self.expand(at, &pair.value)?));
        }
        Ok(expanded)
    }

    /// Refuses more variables or labels than any program could be given: looking them up takes time.
    fn count_variables(&self, more: usize) -> Fallible<()> {
        let declared = self.state.variables.names().len().max(self.state.build_args.len());
        if declared + more > MAX_VARIABLES {
            return Err(fail(self.at, format!("the stage has more than the limit of {MAX_VARIABLES} variables")));
        }
        Ok(())
    }

    /// A003-A006: the build's value, else the default, else the global value.
    pub(super) fn arg(&mut self, at: &Statement, arg: &Arg) -> Fallible<()> {
        self.count_variables(arg.arguments.len())?;
        let mut history = Vec::new();
        for argument in &arg.arguments {
            let name = &argument.name.text;
            self.front.linter.secret_name(at, "ARG", name);
            let (value, inherited) = self.arg_value(at, argument)?;
            if let Some(value) = value.as_ref().filter(|_| !NOT_VARIABLES.contains(&name.as_str())) {
                self.state.variables.set(name, value.clone());
            }
            self.note_arg(at, argument, value.as_deref(), inherited);
            history.push(value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}={value}")));
            self.state.build_args.push((name.clone(), value));
        }
        self.commit(format!("ARG {}", history.join(" ")), false)
    }

    /// Returns the value and whether it is a global one.
    fn arg_value(&mut self, at: &Statement, argument: &ArgDefinition) -> Fallible<(Option<String>, bool)> {
        let name = &argument.name.text;
        match (self.front.globals.build_args.get(name), &argument.default) {
            (Some(given), _) => Ok((Some(given.clone()), false)),
            (None, Some(default)) => Ok((Some(self.expand(at, default)?), false)),
            (None, None) => {
                let global = self.front.globals.variables.get(name).map(str::to_owned);
                let inherited = global.is_some();
                Ok((global, inherited))
            }
        }
    }

    fn note_arg(&mut self, at: &Statement, argument: &ArgDefinition, value: Option<&str>, inherited: bool) {
        let name = argument.name.text.clone();
        if !inherited {
            let info = ArgInfo {
                value: value.unwrap_or_default().to_owned(),
                description: argument.description.clone(),
                lines: at.lines,
                uses: Default::default(),
            };
            self.state.own.args.insert(name.clone(), info);
        }
        self.state.own.used_args.insert(name);
    }

    pub(super) fn maintainer(&mut self, maintainer: &Maintainer) -> Fallible<()> {
        self.state.image.author.clone_from(&maintainer.name);
        self.commit(format!("MAINTAINER {}", maintainer.name), false)
    }

    pub(super) fn cmd(&mut self, at: &Statement, cmd: &Cmd) -> Fallible<()> {
        self.front.linter.used_once(at, &mut self.state.own.cmd);
        let words = self.words(at, &cmd.command);
        self.commit(format!("CMD {}", text::quoted_list(&words)), false)?;
        // An empty list is written as none, as BuildKit's encoder does.
        self.state.image.config.cmd = Some(words).filter(|words| !words.is_empty());
        self.state.image.config.args_escaped = true;
        Ok(())
    }

    /// I001: takes away a `CMD` that is not the stage's own.
    pub(super) fn entrypoint(&mut self, at: &Statement, entrypoint: &Entrypoint) -> Fallible<()> {
        self.front.linter.used_once(at, &mut self.state.own.entrypoint);
        let words = self.words(at, &entrypoint.command);
        self.commit(format!("ENTRYPOINT {}", text::quoted_list(&words)), false)?;
        self.state.image.config.entrypoint = Some(words).filter(|words| !words.is_empty());
        if !self.state.own.cmd.is_set() {
            self.state.image.config.cmd = None;
        }
        Ok(())
    }

    fn words(&mut self, at: &Statement, command: &CommandLine) -> Vec<String> {
        match command {
            CommandLine::Exec(words) => words.clone(),
            CommandLine::Shell(line) => {
                if self.state.image.config.shell.is_empty() {
                    self.front.linter.json_args_recommended(at);
                }
                self.state.with_shell(line.clone())
            }
        }
    }

    pub(super) fn healthcheck(&mut self, at: &Statement, check: &Healthcheck) -> Fallible<()> {
        self.front.linter.used_once(at, &mut self.state.own.healthcheck);
        let nanoseconds = |duration: std::time::Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        let health = HealthConfig {
            test: check.test_words(),
            interval: nanoseconds(check.interval),
            timeout: nanoseconds(check.timeout),
            start_period: nanoseconds(check.start_period),
            start_interval: nanoseconds(check.start_interval),
            retries: i64::from(check.retries),
        };
        self.commit(format!("HEALTHCHECK {}", text::health(&health)), false)?;
        self.state.image.config.healthcheck = Some(health);
        Ok(())
    }

    pub(super) fn user(&mut self, at: &Statement, user: &User) -> Fallible<()> {
        let user = self.expand(at, &user.user)?;
        self.state.user.clone_from(&user);
        self.commit(format!("USER {user}"), false)?;
        self.state.image.config.user = user;
        Ok(())
    }

    pub(super) fn volume(&mut self, at: &Statement, volume: &Volume) -> Fallible<()> {
        let mut paths = Vec::new();
        for template in &volume.paths {
            let path = self.expand(at, template)?;
            if path.is_empty() {
                let place = Place { span: template.span, lines: at.lines };
                return Err(fail(place, "VOLUME specified can not be an empty string"));
            }
            paths.push(path);
        }
        self.commit(format!("VOLUME {}", text::list(&paths)), false)?;
        self.state.image.config.volumes.extend(paths.into_iter().map(|path| (path, empty_object())));
        Ok(())
    }

    pub(super) fn stop_signal(&mut self, at: &Statement, signal: &StopSignal) -> Fallible<()> {
        let value = self.expand(at, &signal.signal)?;
        if !StopSignal::is_valid(&value) {
            let place = Place { span: signal.signal.span, lines: at.lines };
            let error = fail(place, format!("invalid signal: {value}"));
            return Err(Box::new(error.with_suggestion(StopSignal::nearest(&value))));
        }
        self.commit(format!("STOPSIGNAL {value}"), false)?;
        self.state.image.config.stop_signal = value;
        Ok(())
    }

    /// I004
    pub(super) fn expose(&mut self, at: &Statement, expose: &Expose) -> Fallible<()> {
        let mut ports: Vec<String> = Vec::new();
        for template in &expose.ports {
            let place = Place { span: template.span, lines: at.lines };
            let words = self.front.lexer.words(&template.text, &self.state.variables);
            for word in words.map_err(|error| unexpanded(place, &error))?.words {
                let port = Port::parse(&word)
                    .map_err(|error| Box::new(fail(place, error.to_string()).with_suggestion(error.suggestion())))?;
                self.front.linter.expose(at, &word, &port);
                self.front.spend(port.range.len() * PORT_SIZE, place)?;
                ports.extend(port.names());
            }
        }
        self.commit(format!("EXPOSE {}", text::list(&ports)), false)?;
        self.state.image.config.exposed_ports.extend(ports.into_iter().map(|port| (port, empty_object())));
        Ok(())
    }

    pub(super) fn shell(&mut self, shell: &Shell) -> Fallible<()> {
        self.commit(format!("SHELL {}", text::list(&shell.words)), false)?;
        self.state.image.config.shell.clone_from(&shell.words);
        Ok(())
    }
}

/// Volumes and ports are the keys of maps without values.
fn empty_object() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}
