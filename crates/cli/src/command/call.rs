//! Questions about a Dockerfile that build nothing: `--call`, `--check` and `rbuild check`.

use std::io::IsTerminal;

use rbuild_build::{Answer, BuildRequest, Builder, Color, Findings, Subrequest};

use crate::command::builder::{interruptible, parts, told};
use crate::exchange;
use crate::ui::{self, Failure};
use crate::value;
use crate::world::World;

/// What `--call` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// To build.
    Build,
    /// To answer a question.
    Call(Call),
}

/// A question, and the form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) asked: Subrequest,
    pub(crate) format: Format,
    /// Whether warnings leave the exit code alone.
    pub(crate) ignore_status: bool,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Call {
    /// The question of `--check`.
    pub(crate) fn check(format: Format) -> Self {
        Self { asked: Subrequest::Lint, format, ignore_status: false }
    }
}

/// Parses `METHOD[,format=text|json][,ignorestatus=BOOL]`, as buildx has it.
pub(crate) fn method(text: &str) -> Result<Method, String> {
    let (mut name, mut format, mut ignore_status) = (None, Format::Text, false);
    for field in value::csv(text)? {
        match field.split_once('=') {
            None if name.is_none() => name = Some(field),
            None => return Err(format!("`{field}` is a second method: one of {METHODS}")),
            Some(("format", "json")) => format = Format::Json,
            Some(("format", "text" | "")) => format = Format::Text,
            Some(("format", other)) => return Err(format!("unknown format `{other}`: text or json")),
            Some(("ignorestatus", "true" | "1")) => ignore_status = true,
            Some(("ignorestatus", "false" | "0")) => ignore_status = false,
            Some(("ignorestatus", other)) => return Err(format!("ignorestatus=`{other}` is neither true nor false")),
            Some((key, _)) => return Err(format!("unknown key `{key}`: format or ignorestatus")),
        }
    }
    let name = name.unwrap_or_default();
    let asked = match name.as_str() {
        "" | "build" => return Ok(Method::Build),
        "check" | "lint" => Subrequest::Lint,
        other => Subrequest::named(&format!("frontend.{other}"))
            .ok_or_else(|| format!("unknown method `{other}`: one of {METHODS}"))?,
    };
    Ok(Method::Call(Call { asked, format, ignore_status }))
}

const METHODS: &str = "build, check, outline, targets, subrequests.describe";

/// Answers a question on standard output; what stands in the way of a build goes to standard error.
pub(crate) fn run(call: Call, request: &BuildRequest, progress: &str, world: &World) -> Result<(), Failure> {
    // Whoever reads a file of findings does not want to read of the way to them.
    let silent = progress == "auto" && !ui::stderr_is_terminal();
    let mode = if silent { rbuild_progress::Mode::Quiet } else { exchange::mode(progress) };
    let (reporter, display) = exchange::show(mode, "Checking");
    let color = exchange::colors(ui::stderr_is_terminal() && std::io::stdout().is_terminal());
    let color = if color { Color::Always } else { Color::Never };
    let answered = Builder::new(parts(world, reporter)?).and_then(|builder| {
        world.runtime().block_on(interruptible(&builder, builder.call(call.asked, request, color)))
    });
    exchange::finish(display, None);
    show(call, &answered.map_err(told)?)
}

/// Writes an answer, and says with the exit code whether there is something to mend.
fn show(call: Call, answer: &Answer) -> Result<(), Failure> {
    match call.format {
        Format::Json => ui::out(&format!("{}\n", answer.json))?,
        Format::Text => ui::out(&format!("{}{}", heading(answer.findings.as_ref()), answer.text))?,
    }
    let Some(findings) = &answer.findings else { return Ok(()) };
    if call.format == Format::Text && findings.warnings > 0 && !findings.errors.is_empty() {
        ui::out("\n")?;
    }
    for error in &findings.errors {
        ui::print_rendered(error);
    }
    let ignored = call.ignore_status && findings.errors.is_empty();
    if ignored || findings.status() == 0 { Ok(()) } else { Err(Failure::Code(findings.status())) }
}

/// Says how many warnings follow.
fn heading(findings: Option<&Findings>) -> String {
    match findings {
        Some(Findings { warnings: 0, errors }) if errors.is_empty() => {
            "Check complete, no warnings found.\n".to_owned()
        }
        None | Some(Findings { warnings: 0, .. }) => String::new(),
        Some(Findings { warnings: 1, .. }) => "Check complete, 1 warning has been found!\n".to_owned(),
        Some(Findings { warnings, .. }) => format!("Check complete, {warnings} warnings have been found!\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // items: O004
    #[test]
    fn methods_as_buildx_spells_them() {
        let call = |asked, format, ignore_status| Ok(Method::Call(Call { asked, format, ignore_status }));
        for (text, want) in [
            ("build", Ok(Method::Build)),
            ("", Ok(Method::Build)),
            ("check", call(Subrequest::Lint, Format::Text, false)),
            ("lint,format=json", call(Subrequest::Lint, Format::Json, false)),
            ("format=json,check,ignorestatus=true", call(Subrequest::Lint, Format::Json, true)),
            ("outline", call(Subrequest::Outline, Format::Text, false)),
            ("targets,format=text", call(Subrequest::Targets, Format::Text, false)),
            ("subrequests.describe", call(Subrequest::Describe, Format::Text, false)),
            ("nope", Err(format!("unknown method `nope`: one of {METHODS}"))),
            ("check,outline", Err(format!("`outline` is a second method: one of {METHODS}"))),
            ("check,format=xml", Err("unknown format `xml`: text or json".to_owned())),
            ("check,color=no", Err("unknown key `color`: format or ignorestatus".to_owned())),
            ("check,ignorestatus=x", Err("ignorestatus=`x` is neither true nor false".to_owned())),
        ] {
            assert_eq!(method(text), want, "{text}");
        }
    }
}
