//! What the frontend returns.

use rbuild_dockerfile::diagnostic::Diagnostic;
use rbuild_dockerfile::source::Lines;
use rbuild_graph::{Definition, Edge};
use rbuild_oci::{ImageConfig, Platform, Reference};

/// A Dockerfile as a build graph and an image configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Lowered {
    /// The graph; empty for an image without layers.
    pub definition: Definition,
    /// The image's configuration. Its `rootfs` is that of the base image; its history begins with the
    /// base image's, and the times of new entries are left to the exporter unless there is an epoch.
    pub config: ImageConfig,
    /// The image that the target's chain of stages begins with.
    pub base: Option<BaseImage>,
    /// The platform of the result.
    pub platform: Platform,
    /// `SOURCE_DATE_EPOCH`, in seconds since 1970.
    pub epoch: Option<i64>,
    /// What should be told but does not stop the build.
    pub warnings: Vec<Diagnostic>,
    /// What the target takes from outside.
    pub outline: Outline,
    /// What attestations of contents cover, if they were asked for.
    pub scan: Option<Scan>,
    /// The images and other outside things the graph begins with, in order of use.
    pub bases: Vec<UsedImage>,
    /// All stages, if all were read.
    pub overview: Option<Overview>,
}

impl Lowered {
    /// Returns, for each layer that the build adds, bottom first, its position in the history.
    pub fn layer_history(&self) -> Vec<usize> {
        let first = self.base.as_ref().map_or(0, |base| base.config.history.len());
        let entries = self.config.history.iter().enumerate().skip(first);
        entries.filter(|(_, entry)| !entry.empty_layer).map(|(position, _)| position).collect()
    }
}

/// The image that a result is built upon.
#[derive(Debug, Clone, PartialEq)]
pub struct BaseImage {
    /// Its name with digest, unless it comes from a named context that has none.
    pub reference: Option<Reference>,
    /// Its configuration as it was before the build changed anything.
    pub config: ImageConfig,
}

/// An image that the graph uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedImage {
    /// The name as the Dockerfile has it, variables expanded.
    pub name: String,
    /// The name with digest.
    pub reference: Reference,
    /// The platform.
    pub platform: Platform,
}

/// What the target takes from outside, for `--call=outline`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outline {
    /// The target's name.
    pub name: Option<String>,
    /// What the comment above the target says.
    pub description: Option<String>,
    /// Build arguments.
    pub args: Vec<OutlineArg>,
    /// Secrets.
    pub secrets: Vec<OutlineMount>,
    /// Agents.
    pub ssh: Vec<OutlineMount>,
}

/// A build argument in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// Its value in this build; empty if it has none.
    pub value: String,
    /// What the comment above it says.
    pub description: Option<String>,
    /// Where it is declared.
    pub lines: Lines,
}

/// A secret or an agent in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineMount {
    /// Its id.
    pub name: String,
    /// Whether a step fails without it.
    pub required: bool,
    /// Where it is used first.
    pub lines: Lines,
}

/// What a scan of contents covers, all in one graph.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scan {
    /// The graph of everything that is covered.
    pub definition: Definition,
    /// The result; none for the empty file system.
    pub target: Option<Edge>,
    /// What else is covered: the build context as `context`, other stages by name.
    pub extras: Vec<(String, Option<Edge>)>,
    /// Whether a scan runs although its results are known: a stage that it covers does.
    pub ignore_cache: bool,
}

/// All stages in one graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Overview {
    /// The graph of all stages.
    pub definition: Definition,
    /// The stages in the order of the file.
    pub stages: Vec<StageResult>,
}

/// A stage in the graph of all stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageResult {
    /// What it is called in names of steps: its name, or `stage-` and its number.
    pub label: String,
    /// Its result; none for the empty file system.
    pub result: Option<Edge>,
}
