//! Which targets there are (O006).

use rbuild_dockerfile::{Dockerfile, Stage};
use serde::Serialize;

use super::location::{Location, base64};
use super::table::table;
use super::{Answer, json};

#[derive(Serialize)]
struct List<'a> {
    targets: Vec<Target<'a>>,
    sources: [String; 1],
}

#[derive(Serialize)]
struct Target<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    default: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    base: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'a str>,
    location: Location,
}

pub(super) fn answer(dockerfile: &Dockerfile, source: &str) -> Answer {
    let last = dockerfile.stages.len().saturating_sub(1);
    let targets: Vec<Target<'_>> =
        dockerfile.stages.iter().enumerate().map(|(index, stage)| target(stage, index == last)).collect();
    let text = text(&targets);
    let json = json(&List { targets, sources: [base64(source)] });
    Answer { json, text, version: "1.0.0", findings: None }
}

fn target(stage: &Stage, default: bool) -> Target<'_> {
    Target {
        name: stage.name.as_deref(),
        default,
        description: stage.description.as_deref(),
        base: &stage.base.text,
        platform: stage.platform.as_ref().map(|platform| platform.text.as_str()),
        location: stage.lines.into(),
    }
}

fn text(targets: &[Target<'_>]) -> String {
    let name = |target: &Target<'_>| match (target.name, target.default) {
        (Some(name), true) => format!("{name} (default)"),
        (Some(name), false) => name.to_owned(),
        (None, true) => "(default)".to_owned(),
        (None, false) => String::new(),
    };
    let names: Vec<String> = targets.iter().map(name).collect();
    let rows = names.iter().zip(targets).map(|(name, target)| [name.as_str(), target.description.unwrap_or_default()]);
    table(&std::iter::once(["TARGET", "DESCRIPTION"]).chain(rows).collect::<Vec<_>>(), 1)
}
