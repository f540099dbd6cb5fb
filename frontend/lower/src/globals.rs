//! The first pass: arguments before the first `FROM`, and those that every build has.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_dockerfile::{Dockerfile, Environment as _, Lexer, Lines, MetaArg};
use rbuild_oci::Platform;

use crate::error::{Fallible, fail};
use crate::text::platform_with_version;
use crate::variables::{MAX_VARIABLES, Variables};

/// The name of the argument that fixes times.
pub(crate) const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// What is known before the first stage.
#[derive(Debug, Clone)]
pub(crate) struct Globals {
    /// Values that `FROM` sees and that stages inherit by declaring the name.
    pub(crate) variables: Variables,
    /// What the global `ARG`s say, for the outline.
    pub(crate) declared: BTreeMap<String, ArgInfo>,
    /// Values given by the build.
    pub(crate) build_args: BTreeMap<String, String>,
}

/// An `ARG` as the outline tells it.
#[derive(Debug, Clone)]
pub(crate) struct ArgInfo {
    pub(crate) value: String,
    pub(crate) description: Option<String>,
    pub(crate) lines: Lines,
    /// Arguments that the default was made of.
    pub(crate) uses: BTreeSet<String>,
}

/// Returns the arguments that every build has (A008); `overrides` go before.
pub(crate) fn predefined(
    build: &Platform,
    target: &Platform,
    stage: Option<&str>,
    overrides: &BTreeMap<String, String>,
) -> Variables {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let all = [
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", text(&build.os_version)),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", text(&build.variant)),
        ("TARGETPLATFORM", platform_with_version(target)),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", text(&target.os_version)),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", text(&target.variant)),
        ("TARGETSTAGE", stage.filter(|name| !name.is_empty()).unwrap_or("default").to_owned()),
    ];
    let mut variables = Variables::default();
    for (name, value) in all {
        variables.set(name, overrides.get(name).cloned().unwrap_or(value));
    }
    variables
}

/// Adds the `ARG`s before the first `FROM` to `variables`.
pub(crate) fn read(
    dockerfile: &Dockerfile,
    mut variables: Variables,
    build_args: &BTreeMap<String, String>,
) -> Fallible<Globals> {
    let lexer = Lexer::new(dockerfile.escape);
    let mut declared: BTreeMap<String, ArgInfo> = BTreeMap::new();
    for meta in &dockerfile.meta_args {
        for arg in &meta.arg.arguments {
            if declared.len() == MAX_VARIABLES {
                let message = format!("more than the limit of {MAX_VARIABLES} variables before the first FROM");
                return Err(fail(meta.place(), message));
            }
            let name = &arg.name.text;
            let mut uses = BTreeSet::new();
            // A003: a default is not even looked at if the build gives a value.
            let value = match (build_args.get(name), &arg.default) {
                (Some(value), _) => Some(value.clone()),
                (None, None) => None,
                (None, Some(default)) => {
                    let expansion =
                        lexer.word(&default.text, &variables).map_err(|error| fail(meta.place(), error.to_string()))?;
                    uses = expansion.used;
                    Some(expansion.value)
                }
            };
            if uses.remove(name) {
                uses.extend(declared.get(name).map(|old| old.uses.clone()).unwrap_or_default());
            }
            if let Some(value) = &value {
                variables.set(name, value.clone());
            }
            declared.insert(name.clone(), info(arg.description.clone(), meta, value, uses));
        }
    }
    Ok(Globals { variables, declared, build_args: build_args.clone() })
}

fn info(description: Option<String>, meta: &MetaArg, value: Option<String>, uses: BTreeSet<String>) -> ArgInfo {
    ArgInfo { value: value.unwrap_or_default(), description, lines: meta.lines, uses }
}

impl Globals {
    /// Returns the value of `SOURCE_DATE_EPOCH` before it is looked up: the build's, or a global default.
    pub(crate) fn epoch(&self) -> Option<&str> {
        let given = self.build_args.get(EPOCH).map(String::as_str);
        given.or_else(|| self.variables.get(EPOCH).filter(|value| !value.is_empty()))
    }

    /// Puts the time that was found in place of what was asked for; none takes it away.
    pub(crate) fn set_epoch(&mut self, epoch: Option<i64>) {
        let value = epoch.map(|seconds| seconds.to_string());
        if self.build_args.contains_key(EPOCH) {
            match &value {
                Some(value) => self.build_args.insert(EPOCH.to_owned(), value.clone()),
                None => self.build_args.remove(EPOCH),
            };
        }
        if self.variables.get(EPOCH).is_some() {
            match value {
                Some(value) => self.variables.set(EPOCH, value),
                None => self.variables.remove(EPOCH),
            }
        }
    }

    /// Returns the names that a `FROM` may use.
    pub(crate) fn known_names(&self) -> Vec<&str> {
        self.variables.names().chain(self.declared.keys().map(String::as_str)).collect()
    }
}
