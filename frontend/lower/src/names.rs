//! The names under which steps are shown (O009): `[stage 2/5] RUN make`.

use rbuild_dockerfile::{Environment as _, Lexer};
use rbuild_graph::{description, pb};
use rbuild_oci::Platform;

use crate::text::platform_with_version;
use crate::variables::Variables;

/// Counts the steps of a stage and names them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counter {
    /// What the stage is called; empty if there is only one.
    pub(crate) stage: String,
    /// How many steps there are.
    pub(crate) total: usize,
    /// Whether names tell their platform.
    pub(crate) with_platform: bool,
    /// How many steps have been named.
    pub(crate) index: usize,
}

impl Counter {
    /// Returns the name of the next step.
    pub(crate) fn next(&mut self, step: &Step<'_>) -> String {
        self.index += 1;
        self.again(step)
    }

    /// Returns another name for the step named last.
    pub(crate) fn again(&self, step: &Step<'_>) -> String {
        if self.total == 0 {
            return step.text.to_owned();
        }
        let mut name = "[".to_owned();
        if self.with_platform {
            name.push_str(&platform_with_version(step.platform));
            name.push_str(
                &step.variables.map(|variables| foreign_target(step.platform, variables)).unwrap_or_default(),
            );
            name.push(' ');
        }
        if !self.stage.is_empty() {
            name.push_str(&self.stage);
            name.push(' ');
        }
        let width = self.total.to_string().len();
        let mark = if step.on_build { "ONBUILD " } else { "" };
        format!("{name}{:width$}/{}] {mark}{}", self.index, self.total, step.text)
    }
}

/// What the name of a step is made of.
pub(crate) struct Step<'a> {
    pub(crate) text: &'a str,
    pub(crate) platform: &'a Platform,
    /// Variables that may tell of cross compilation.
    pub(crate) variables: Option<&'a Variables>,
    pub(crate) on_build: bool,
}

/// Returns `->arm64` if the variables say that a step on `platform` makes something for another one.
fn foreign_target(platform: &Platform, variables: &Variables) -> String {
    let Some(target) = target(platform, variables) else {
        return String::new();
    };
    if target.os != platform.os {
        return format!("->{}", platform_with_version(&target));
    }
    if target.architecture == platform.architecture {
        return String::new();
    }
    let variant = target.variant.map(|variant| format!("/{variant}")).unwrap_or_default();
    format!("->{}{variant}", target.architecture)
}

fn target(platform: &Platform, variables: &Variables) -> Option<Platform> {
    if let Some(Ok(whole)) = variables.get("TARGETPLATFORM").map(Platform::parse) {
        return Some(whole);
    }
    let part = |name: &str| variables.get(name).map(str::to_owned);
    let (os, architecture, variant) = (part("TARGETOS"), part("TARGETARCH"), part("TARGETVARIANT"));
    if os.is_none() && architecture.is_none() && variant.is_none() {
        return None;
    }
    let or =
        |part: Option<String>, other: &str| part.filter(|part| !part.is_empty()).unwrap_or_else(|| other.to_owned());
    Some(Platform::new(&or(os, &platform.os), &or(architecture, &platform.architecture), variant.as_deref()))
}

/// Returns an instruction with its first word in capitals and its variables replaced, as it is shown.
pub(crate) fn shown(lexer: Lexer, instruction: &str, variables: &Variables) -> String {
    let expanded =
        lexer.word(instruction, variables).map_or_else(|_| instruction.to_owned(), |expansion| expansion.value);
    match expanded.split_once(' ') {
        Some((word, rest)) => format!("{} {rest}", word.to_uppercase()),
        None => expanded.to_uppercase(),
    }
}

/// Returns the metadata of a vertex shown as `name`.
pub(crate) fn named(name: impl Into<String>) -> pb::OpMetadata {
    let description = [(description::CUSTOM_NAME.to_owned(), name.into())].into();
    pb::OpMetadata { description, ..pb::OpMetadata::default() }
}

/// Returns the metadata of a vertex that is shown as the builder's own.
pub(crate) fn internal(name: &str) -> pb::OpMetadata {
    named(format!("[internal] {name}"))
}

/// Adds the instruction a vertex was made from.
pub(crate) fn with_command(mut metadata: pb::OpMetadata, command: &str) -> pb::OpMetadata {
    metadata.description.insert(description::DOCKERFILE_COMMAND.to_owned(), command.to_owned());
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(counter: &mut Counter, variables: &[(&str, &str)], expect: &str) {
        let platform = Platform::new("linux", "amd64", None);
        let mut set = Variables::default();
        variables.iter().for_each(|(name, value)| set.set(name, *value));
        let step = Step { text: "RUN x", platform: &platform, variables: Some(&set), on_build: false };
        assert_eq!(counter.next(&step), expect);
    }

    // items: O009
    #[test]
    fn o009_names() {
        let mut counter = Counter { stage: "build".to_owned(), total: 12, ..Counter::default() };
        check(&mut counter, &[], "[build  1/12] RUN x");
        counter.with_platform = true;
        check(&mut counter, &[("TARGETARCH", "arm64")], "[linux/amd64->arm64 build  2/12] RUN x");
        check(&mut counter, &[("TARGETPLATFORM", "linux/arm/v7")], "[linux/amd64->arm/v7 build  3/12] RUN x");
        check(&mut counter, &[("TARGETPLATFORM", "windows/amd64")], "[linux/amd64->windows/amd64 build  4/12] RUN x");
        check(&mut Counter { total: 3, ..Counter::default() }, &[], "[1/3] RUN x");
        check(&mut Counter::default(), &[], "RUN x");
    }

    #[test]
    fn shown_names() {
        let mut variables = Variables::default();
        variables.set("A", "1");
        assert_eq!(shown(Lexer::progress('\\'), "run echo \"$A\" $B", &variables), "RUN echo \"1\" $B");
        assert_eq!(shown(Lexer::new('\\'), "copy \"$A\" ${", &variables), "COPY \"$A\" ${");
    }
}
