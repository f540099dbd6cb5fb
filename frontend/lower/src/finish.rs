//! The last pass: contexts get their paths, the target becomes the result.

use std::collections::BTreeSet;

use rbuild_dockerfile::{Diagnostic, Stage};
use rbuild_graph::pb;
use rbuild_oci::{ImageConfig, Platform};

use crate::context::Context;
use crate::frontend::Frontend;
use crate::globals::ArgInfo;
use crate::lowered::{Lowered, Outline, OutlineArg, OutlineMount, Overview, Scan, StageResult};
use crate::names::{internal, named};
use crate::request::MainContext;
use crate::source_op;
use crate::state::State;

impl Frontend<'_> {
    /// Makes the result. All stages that the target needs have been walked.
    pub(crate) fn finish(mut self, source: &str) -> Lowered {
        let target = self.plan.target;
        let first = self.target_state().paths;
        self.paths[first].insert("/".to_owned());
        self.fill_contexts();
        let platform = self.result_platform();
        let info = pb::SourceInfo {
            filename: self.request.filename.clone(),
            data: source.as_bytes().to_vec().into(),
            definition: self.request.origin.clone(),
            language: "Dockerfile".to_owned(),
        };
        let scan = self.request.scan.then(|| self.scan(info.clone()));
        let definition = self.builder.finish(self.target_state().output, vec![info.clone()]);
        let overview = self.request.all_stages.then(|| self.overview(info.clone()));
        let outline = self.outline(target);
        let state = self.states[target].take().expect("the target has been walked");
        Lowered {
            definition,
            config: self.config(state.image),
            base: state.base,
            platform,
            epoch: self.epoch,
            warnings: self.linter.into_diagnostics(),
            outline,
            scan,
            bases: self.used,
            overview,
        }
    }

    fn overview(&self, info: pb::SourceInfo) -> Overview {
        let stages = 0..self.plan.declared;
        let outputs: Vec<_> =
            stages.clone().map(|stage| self.states[stage].as_ref().and_then(|state| state.output)).collect();
        let (definition, edges) = self.builder.finish_all(&outputs, vec![info]);
        let label = |stage: usize| match self.plan.units[stage].label.as_str() {
            "" => self.plan.units[stage].stage.and_then(|stage| stage.name.clone()).unwrap_or("stage-0".to_owned()),
            label => label.to_owned(),
        };
        let stages = stages.zip(edges).map(|(stage, result)| StageResult { label: label(stage), result });
        Overview { definition, stages: stages.collect() }
    }

    fn target_state(&self) -> &State {
        self.states[self.plan.target].as_ref().expect("the target has been walked")
    }

    /// C023: local contexts are asked for what is used of them only.
    fn fill_contexts(&mut self) {
        if let (Context::Local(node), MainContext::Local { name, exclude }) = (self.context, &self.request.context) {
            let session = self.request.session_of(name);
            let source = source_op::local(name, name, session, exclude, &self.context_paths);
            self.builder.fill(node, source, &internal("load build context"));
        }
        for local in std::mem::take(&mut self.locals) {
            let session = self.request.session_of(&local.name);
            let key = self.request.shared_keys.get(&local.shown).map_or("", String::as_str);
            let hint = format!("context:{}-{key}", local.shown);
            let source = source_op::local(&local.name, &hint, session, &local.exclude, &self.paths[local.unit]);
            let metadata = named(format!("[context {}] load from client", local.shown));
            self.builder.fill(local.node, source, &metadata);
        }
    }

    /// H006: the platform that was asked for goes into the configuration.
    fn config(&self, mut image: ImageConfig) -> ImageConfig {
        image.config.labels.extend(self.request.labels.clone());
        if self.request.platform.is_some() {
            let target = &self.target_platform;
            let same = target.os == image.os && target.architecture == image.architecture;
            image.os.clone_from(&target.os);
            image.architecture.clone_from(&target.architecture);
            if target.variant.is_some() || !same {
                image.variant.clone_from(&target.variant);
            }
            if target.os_version.is_some() || !same {
                image.os_version.clone_from(&target.os_version);
            }
            if !target.os_features.is_empty() {
                image.os_features.clone_from(&target.os_features);
            }
        }
        let normal = Platform {
            architecture: std::mem::take(&mut image.architecture),
            os: std::mem::take(&mut image.os),
            os_version: None,
            os_features: Vec::new(),
            variant: image.variant.take(),
        }
        .normalise();
        ImageConfig { architecture: normal.architecture, os: normal.os, variant: normal.variant, ..image }
    }

    fn result_platform(&self) -> Platform {
        match &self.request.platform {
            Some(platform) => platform.clone().normalise(),
            None => {
                let image = &self.target_state().image;
                let of_image = Platform::new(&image.os, &image.architecture, image.variant.as_deref());
                if image.os.is_empty() { self.target_platform.clone() } else { of_image }
            }
        }
    }

    fn scan(&self, info: pb::SourceInfo) -> Scan {
        let target = self.plan.target;
        let reachable = self.plan.reachable(target);
        let mut ignore_cache = self.plan.units[target].ignore_cache;
        let mut names = Vec::new();
        let mut outputs = Vec::new();
        for unit in (0..self.plan.declared).filter(|unit| *unit != target && reachable[*unit]) {
            let Some(state) = self.states[unit].as_ref().filter(|state| state.own.scan_stage) else { continue };
            ignore_cache |= self.plan.units[unit].ignore_cache;
            names.push(self.plan.units[unit].label.clone());
            outputs.push(state.output);
        }
        if self.target_state().own.scan_context {
            names.push("context".to_owned());
            outputs.push(self.context.output());
        }
        outputs.push(self.target_state().output);
        let (definition, mut edges) = self.builder.finish_all(&outputs, vec![info]);
        let target = edges.pop().flatten();
        Scan { definition, target, extras: names.into_iter().zip(edges).collect(), ignore_cache }
    }

    /// O005: what the target and the stages it needs take from outside.
    fn outline(&self, target: usize) -> Outline {
        let stage = self.plan.units[target].stage;
        let mut outline = Outline {
            name: stage.and_then(|stage| stage.name.clone()),
            description: stage.and_then(|stage: &Stage| stage.description.clone()),
            ..Outline::default()
        };
        let mut args: BTreeSet<String> = BTreeSet::new();
        let [mut secrets, mut agents] = [BTreeSet::new(), BTreeSet::new()];
        for unit in self.nearest_first(target) {
            let Some(state) = &self.states[unit] else { continue };
            for name in self.used_args(state) {
                let info = state.own.args.get(&name).or_else(|| self.globals.declared.get(&name));
                if let Some(info) = info.filter(|_| args.insert(name.clone())) {
                    outline.args.push(outline_arg(name, info));
                }
            }
            let mounts = [
                (&mut outline.secrets, &mut secrets, &state.own.secrets),
                (&mut outline.ssh, &mut agents, &state.own.ssh),
            ];
            for (list, known, found) in mounts {
                for (name, (required, lines)) in found {
                    if known.insert(name.as_str()) {
                        list.push(OutlineMount { name: name.clone(), required: *required, lines: *lines });
                    }
                }
            }
        }
        outline.args.sort_by_key(|arg| arg.lines.start);
        outline.secrets.sort_by_key(|mount| mount.lines.start);
        outline.ssh.sort_by_key(|mount| mount.lines.start);
        outline
    }

    /// Returns the arguments that a stage uses, with those that their defaults are made of.
    fn used_args(&self, state: &State) -> BTreeSet<String> {
        let mut used = BTreeSet::new();
        let mut open: Vec<String> = state.own.used_args.iter().cloned().collect();
        while let Some(name) = open.pop() {
            let info = state.own.args.get(&name).or_else(|| self.globals.declared.get(&name));
            if used.insert(name) {
                open.extend(info.into_iter().flat_map(|info| info.uses.iter().cloned()));
            }
        }
        used
    }

    fn nearest_first(&self, target: usize) -> Vec<usize> {
        let mut order = Vec::new();
        let mut seen = vec![false; self.plan.units.len()];
        let mut open = std::collections::VecDeque::from([target]);
        while let Some(unit) = open.pop_front() {
            if !std::mem::replace(&mut seen[unit], true) {
                order.push(unit);
                open.extend(self.plan.needs(unit));
            }
        }
        order
    }

    /// Returns the error that warnings are made of if the file or the build asks for it (L003).
    pub(crate) fn lint_failure(&self) -> Option<Diagnostic> {
        let message = self.linter.failure()?;
        let place = self.dockerfile.stages[self.plan.target.min(self.dockerfile.stages.len() - 1)].place();
        Some(Diagnostic::error(rbuild_dockerfile::Phase::Lint, place, message))
    }
}

fn outline_arg(name: String, info: &ArgInfo) -> OutlineArg {
    OutlineArg { name, value: info.value.clone(), description: info.description.clone(), lines: info.lines }
}
