//! What the target takes from outside (O005).

use serde::Serialize;

use super::location::{Location, base64};
use super::table::table;
use super::{Answer, json};
use crate::lowered::{Outline, OutlineMount};

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Arg<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<Mount<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<Mount<'a>>,
    sources: [String; 1],
}

#[derive(Serialize)]
struct Arg<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    value: &'a str,
    location: Location,
}

#[derive(Serialize)]
struct Mount<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    required: bool,
    location: Location,
}

pub(super) fn answer(outline: &Outline, source: &str) -> Answer {
    let args = outline.args.iter().map(|arg| Arg {
        name: &arg.name,
        description: arg.description.as_deref(),
        value: &arg.value,
        location: arg.lines.into(),
    });
    let json = json(&Shown {
        name: outline.name.as_deref(),
        description: outline.description.as_deref(),
        args: args.collect(),
        secrets: mounts(&outline.secrets),
        ssh: mounts(&outline.ssh),
        sources: [base64(source)],
    });
    Answer { json, text: text(outline), version: "1.0.0", findings: None }
}

fn mounts(mounts: &[OutlineMount]) -> Vec<Mount<'_>> {
    let shown = mounts.iter();
    shown.map(|mount| Mount { name: &mount.name, required: mount.required, location: mount.lines.into() }).collect()
}

fn text(outline: &Outline) -> String {
    let mut parts = Vec::new();
    if outline.name.is_some() || outline.description.is_some() {
        let mut rows = vec![["TARGET:", outline.name.as_deref().unwrap_or("(default)")]];
        rows.extend(outline.description.iter().map(|description| ["DESCRIPTION:", description]));
        parts.push(table(&rows, 1));
    }
    if !outline.args.is_empty() {
        let row = outline.args.iter().map(|arg| [&*arg.name, &*arg.value, arg.description.as_deref().unwrap_or("")]);
        let rows: Vec<_> = std::iter::once(["BUILD ARG", "VALUE", "DESCRIPTION"]).chain(row).collect();
        parts.push(table(&rows, 3));
    }
    for (heading, mounts) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if !mounts.is_empty() {
            let row = mounts.iter().map(|mount| [&*mount.name, if mount.required { "true" } else { "" }]);
            let rows: Vec<_> = std::iter::once([heading, "REQUIRED"]).chain(row).collect();
            parts.push(table(&rows, 3));
        }
    }
    parts.into_iter().map(|part| part + "\n").collect()
}
