//! `WORKDIR`: the directory is made, for the user who will work there (I006).

use rbuild_dockerfile::instruction::Workdir;
use rbuild_graph::pb;

use super::Walk;
use crate::error::Fallible;
use crate::names::{named, shown};
use crate::path;
use crate::source_op;
use crate::stages::Command;

impl Walk<'_, '_> {
    pub(super) fn workdir(&mut self, command: &Command<'_>, workdir: &Workdir) -> Fallible<()> {
        let at = command.statement.as_ref();
        let written = self.expand(at, &workdir.path)?;
        if !self.state.workdir_set {
            self.front.linter.relative_workdir(at, &written);
        }
        self.state.workdir_set = true;
        self.change_directory(&written);
        let directory = self.state.directory.clone();
        if directory == "/" {
            return self.commit(format!("WORKDIR {directory}"), false);
        }
        let user = self.state.image.config.user.clone();
        let owner =
            if user.is_empty() { None } else { Some(self.owner(&user, self.state.output.is_some(), at.place())?) };
        let mkdir = pb::FileActionMkDir {
            path: path::in_op("/", &directory, false),
            mode: 0o755,
            make_parents: true,
            owner,
            timestamp: self.made_at(),
        };
        let name = shown(self.front.lexer, &at.original, &self.state.variables);
        let name = self.step_name(&name, command);
        let input = if self.state.output.is_some() { 0 } else { pb::EMPTY };
        let action =
            pb::FileAction { input, secondary_input: pb::EMPTY, output: 0, action: Some(pb::Action::Mkdir(mkdir)) };
        let kind = pb::Kind::File(pb::FileOp { actions: vec![action] });
        let inputs = self.state.output.into_iter().collect();
        let locations = self.locations(at);
        self.state.output = Some(source_op::add(&mut self.front.builder, kind, None, inputs, &named(name), &locations));
        self.commit(format!("WORKDIR {directory}"), true)
    }

    /// Returns the time of what a step makes out of nothing: that of the build, unless there is an epoch.
    pub(super) fn made_at(&self) -> i64 {
        self.front.epoch.map_or(-1, |seconds| seconds.saturating_mul(1_000_000_000))
    }

    /// Sets the working directory of the image and of the following steps.
    pub(super) fn change_directory(&mut self, written: &str) {
        let current = &self.state.image.config.working_dir;
        let current = if current.is_empty() { "/" } else { current };
        let directory = path::absolute(current, written, false);
        self.state.image.config.working_dir.clone_from(&directory);
        self.state.directory = directory;
    }
}
