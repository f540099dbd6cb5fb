//! What the lint rules found, and why the file cannot be built (O007).

use std::fmt::Write as _;

use rbuild_dockerfile::render::{Color, escaped, excerpt, label};
use rbuild_dockerfile::{Diagnostic, Lines, Rule, Severity, first_error};
use serde::Serialize;

use super::location::{Location, base64};
use super::{Answer, Findings, json};

#[derive(Serialize)]
struct Results<'a> {
    warnings: Vec<Warning<'a>>,
    sources: [Source<'a>; 1],
    #[serde(rename = "buildError", skip_serializing_if = "Option::is_none")]
    error: Option<BuildError>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Warning<'a> {
    rule_name: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    detail: String,
    location: Location,
}

#[derive(Serialize)]
struct Source<'a> {
    filename: &'a str,
    data: String,
    language: &'static str,
}

#[derive(Serialize)]
struct BuildError {
    message: String,
    location: Location,
}

/// Returns warnings and errors in the order found as JSON, the warnings in the order of the file as text.
pub(super) fn answer(diagnostics: &[Diagnostic], filename: &str, source: &str, color: Color) -> Answer {
    let mut warnings: Vec<(&Rule, &Diagnostic)> =
        diagnostics.iter().filter_map(|warning| Some((warning.rule?, warning))).collect();
    let json = json(&Results {
        warnings: warnings.iter().map(|(rule, found)| warning(rule, found)).collect(),
        sources: [Source { filename, data: base64(source), language: "Dockerfile" }],
        error: first_error(diagnostics)
            .map(|error| BuildError { message: error.to_string(), location: Location::of(&places(error)) }),
    });
    warnings.sort_by_key(|(_, warning)| warning.lines.start);
    let text = warnings.iter().map(|(rule, warning)| warning_text(rule, warning, filename, source, color)).collect();
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
    let errors = errors.map(|error| error_text(error, filename, source, color)).collect();
    Answer { json, text, version: "1.0.0", findings: Some(Findings { warnings: warnings.len(), errors }) }
}

fn warning<'a>(rule: &'a Rule, found: &Diagnostic) -> Warning<'a> {
    Warning {
        rule_name: rule.name,
        description: rule.description,
        url: rule.url,
        detail: found.text(),
        location: found.lines.into(),
    }
}

/// Returns all lines that a diagnostic speaks of.
fn places(diagnostic: &Diagnostic) -> Vec<Lines> {
    std::iter::once(diagnostic.lines).chain(diagnostic.related.iter().copied()).collect()
}

fn warning_text(rule: &Rule, warning: &Diagnostic, filename: &str, source: &str, color: Color) -> String {
    let mut out = format!("\n{} {}", label("WARNING:", Severity::Warning, color), rule.name);
    if let Some(url) = rule.url {
        let _ = write!(out, " - {url}");
    }
    let _ = writeln!(out, "\n{}", escaped(&warning.text()));
    out + &excerpt(filename, source, &places(warning), Severity::Warning, color)
}

/// Returns an error as clients show it, and what to do about it.
fn error_text(error: &Diagnostic, filename: &str, source: &str, color: Color) -> String {
    let mut out = format!("{} {}\n", label("ERROR:", Severity::Error, color), escaped(&error.to_string()));
    out.push_str(&excerpt(filename, source, &places(error), Severity::Error, color));
    if let Some(hint) = &error.hint {
        let _ = writeln!(out, "hint: {}", escaped(hint));
    }
    out
}
