//! A stage while its instructions are walked.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_dockerfile::Lines;
use rbuild_dockerfile::lint::OnceTracker;
use rbuild_graph::{Output, pb};
use rbuild_oci::{History, ImageConfig, Platform};

use crate::globals::ArgInfo;
use crate::lowered::BaseImage;
use crate::names::Counter;
use crate::text::timestamp;
use crate::variables::{self, Variables};

/// Who made an entry of the history; tools look for it.
const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";
/// Where programs are looked for if nobody says.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the instructions so far have made of a stage.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// The file system; none for an empty one.
    pub(crate) output: Option<Output>,
    /// Variables of `ENV` and `ARG`.
    pub(crate) variables: Variables,
    pub(crate) directory: String,
    pub(crate) user: String,
    /// The platform that the file system is for; none for the target's.
    pub(crate) exec_platform: Option<Platform>,
    /// The platform of the stage.
    pub(crate) platform: Platform,
    pub(crate) image: ImageConfig,
    pub(crate) base: Option<BaseImage>,
    /// `ARG`s in the order declared, with values.
    pub(crate) build_args: Vec<(String, Option<String>)>,
    /// The unit whose paths in use this stage adds to: the first of its chain.
    pub(crate) paths: usize,
    /// Whether a `WORKDIR` was seen.
    pub(crate) workdir_set: bool,
    pub(crate) own: Own,
}

/// What a stage does not hand on to those that stand upon it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Own {
    pub(crate) counter: Counter,
    pub(crate) ignore_cache: bool,
    pub(crate) cmd: OnceTracker,
    pub(crate) entrypoint: OnceTracker,
    pub(crate) healthcheck: OnceTracker,
    pub(crate) args: BTreeMap<String, ArgInfo>,
    pub(crate) used_args: BTreeSet<String>,
    pub(crate) secrets: BTreeMap<String, (bool, Lines)>,
    pub(crate) ssh: BTreeMap<String, (bool, Lines)>,
    pub(crate) scan_stage: bool,
    pub(crate) scan_context: bool,
}

impl State {
    /// Returns a stage upon an empty file system with `variables`, of which nothing is set.
    pub(crate) fn empty(platform: Platform, paths: usize, variables: Variables) -> Self {
        Self {
            output: None,
            variables,
            directory: "/".to_owned(),
            user: String::new(),
            exec_platform: None,
            platform,
            image: ImageConfig::default(),
            base: None,
            build_args: Vec::new(),
            paths,
            workdir_set: false,
            own: Own::default(),
        }
    }

    /// Returns a stage that stands upon this one.
    pub(crate) fn child(&self) -> Self {
        let mut child = Self { own: Own::default(), ..self.clone() };
        child.image.config.on_build.clear();
        child
    }

    /// Returns about how many bytes a copy takes.
    pub(crate) fn size(&self) -> usize {
        let config = &self.image.config;
        let keys = config.exposed_ports.keys().chain(config.volumes.keys()).chain(config.labels.keys());
        let texts = keys.chain(config.labels.values()).chain(&config.env).map(String::len);
        let history = self.image.history.iter().map(|entry| entry.created_by.len() + size_of::<History>());
        let args = self.build_args.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len));
        texts.chain(history).chain(args).map(|bytes| bytes + size_of::<String>()).sum::<usize>() + self.variables.size()
    }

    /// Adds an entry to the history (H001).
    pub(crate) fn commit(&mut self, text: String, with_layer: bool, epoch: Option<i64>) {
        self.image.history.push(History {
            created: epoch.and_then(timestamp),
            created_by: text,
            comment: HISTORY_COMMENT.to_owned(),
            empty_layer: !with_layer,
            ..History::default()
        });
    }

    /// Takes over what the image says of variables, as a stage begins; `PATH` is always set (A016).
    pub(crate) fn begin(&mut self) {
        let env = &mut self.image.config.env;
        if self.platform.os != "windows" && !env.iter().any(|variable| variables::split(variable).0 == "PATH") {
            env.push(format!("PATH={DEFAULT_PATH}"));
        }
        for variable in env.iter() {
            let (name, value) = variables::split(variable);
            self.variables.set(name, value);
        }
    }

    /// Sets variables in the image and for the following steps.
    pub(crate) fn set_env(&mut self, pairs: &[(String, String)]) {
        pairs.iter().for_each(|(name, value)| self.variables.set(name, value));
        variables::set_in_list(&mut self.image.config.env, pairs);
    }

    /// Returns the words that run a command line in the stage's shell.
    pub(crate) fn with_shell(&self, command: String) -> Vec<String> {
        let shell = &self.image.config.shell;
        let mut words = match (shell.is_empty(), self.image.os.as_str()) {
            (false, _) => shell.clone(),
            (true, "windows") => ["cmd", "/S", "/C"].map(str::to_owned).to_vec(),
            (true, _) => ["/bin/sh", "-c"].map(str::to_owned).to_vec(),
        };
        words.push(command);
        words
    }
}

/// Returns the configuration of an image with nothing in it.
pub(crate) fn empty_image(platform: &Platform) -> ImageConfig {
    let mut image = ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        os_version: platform.os_version.clone(),
        os_features: platform.os_features.clone(),
        variant: platform.variant.clone(),
        ..ImageConfig::default()
    };
    image.config.working_dir = "/".to_owned();
    if platform.os != "windows" {
        image.config.env = vec![format!("PATH={DEFAULT_PATH}")];
    }
    image
}

/// Instructions of more lines are one area of the source map: very many may be about all of them.
const MAX_AREAS: u32 = 1000;

/// Returns lines as a place of the source map: an area for each, as BuildKit's clients count them.
pub(crate) fn location(lines: Lines) -> pb::Location {
    let position = |line: u32| Some(pb::Position { line: i32::try_from(line).unwrap_or(i32::MAX), character: 0 });
    let range = |start, end| pb::Range { start: position(start), end: position(end) };
    let last = lines.end.max(lines.start);
    let ranges = match last - lines.start {
        0..MAX_AREAS => (lines.start..=last).map(|line| range(line, line)).collect(),
        _ => vec![range(lines.start, last)],
    };
    pb::Location { source_index: 0, ranges }
}
