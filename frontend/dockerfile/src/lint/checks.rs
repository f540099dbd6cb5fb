//! The checks that need to know more than the file; each is called by whoever knows it: scopes, platforms, base
//! images, the ignore file.

use super::{Linter, rules};
use crate::expand::Expansion;
use crate::instruction::{CommandLine, Instruction, Port, Statement};
use crate::literal::quote;
use crate::source::Place;
use crate::stage::{MetaArg, Stage};

/// Where a warning belongs, and the comments there that may switch its rule off.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// The place.
    pub place: Place,
    /// The comment lines directly above.
    pub comments: &'a [String],
}

impl<'a> From<&'a Statement> for At<'a> {
    fn from(statement: &'a Statement) -> Self {
        Self { place: statement.place(), comments: &statement.comments }
    }
}

impl<'a> From<&'a Stage> for At<'a> {
    fn from(stage: &'a Stage) -> Self {
        Self { place: stage.place(), comments: &stage.comments }
    }
}

impl<'a> From<&'a MetaArg> for At<'a> {
    fn from(arg: &'a MetaArg) -> Self {
        Self { place: arg.place(), comments: &arg.comments }
    }
}

/// Remembers the last instruction of a kind that counts only once in a stage (`CMD`, `ENTRYPOINT`, `HEALTHCHECK`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OnceTracker {
    last: Option<Place>,
}

impl OnceTracker {
    /// Tells whether there was one.
    pub fn is_set(&self) -> bool {
        self.last.is_some()
    }
}

impl Linter {
    /// UndefinedVar: a word used `name`, which is not set. `known` are the names that are. Not for build arguments
    /// of the stage without a value: those are declared.
    pub fn undefined_var<'a>(&mut self, at: impl Into<At<'a>>, name: &str, known: impl IntoIterator<Item = &'a str>) {
        let mut message = format!("Usage of undefined variable '${name}'");
        if let Some(near) = self.nearest(name, known) {
            message.push_str(&format!(" (did you mean ${near}?)"));
        }
        self.report(&rules::UNDEFINED_VAR, at, message);
    }

    /// UndefinedArgInFrom: name or platform of a `FROM` used `name`, which no global argument declares. `known` are
    /// the declared and the predefined ones.
    pub fn undefined_arg_in_from<'a>(
        &mut self,
        at: impl Into<At<'a>>,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) {
        let mut message = format!("FROM argument '{name}' is not declared");
        if let Some(near) = self.nearest(name, known) {
            message.push_str(&format!(" (did you mean {near}?)"));
        }
        self.report(&rules::UNDEFINED_ARG_IN_FROM, at, message);
    }

    /// InvalidDefaultArgInFrom: with the defaults of all global arguments the base is no image name. What the
    /// comments say does not count here.
    pub fn invalid_default_arg_in_from(&mut self, stage: &Stage) {
        let message = format!("Default value for ARG {} results in empty or invalid base image name", stage.base);
        self.report(&rules::INVALID_DEFAULT_ARG_IN_FROM, At { place: stage.place(), comments: &[] }, message);
    }

    /// RedundantTargetPlatform: the platform of a `FROM` is `$TARGETPLATFORM` and nothing else.
    pub fn redundant_target_platform(&mut self, stage: &Stage, platform: &Expansion, target: Option<&str>) {
        let only = platform.unset.is_empty() && platform.used.iter().eq(["TARGETPLATFORM"]);
        if let (true, Some(template)) = (only && target == Some(&platform.value), &stage.platform) {
            let message = format!(
                "Setting platform to predefined {template} in FROM is redundant as this is the default behavior"
            );
            self.report(&rules::REDUNDANT_TARGET_PLATFORM, stage, message);
        }
    }

    /// FromPlatformFlagConstDisallowed: the platform of a `FROM` is a constant that the stage's name does not speak
    /// of. `os` and `architecture` are those of the platform, normalised.
    pub fn constant_platform(&mut self, stage: &Stage, platform: &Expansion, os: &str, architecture: &str) {
        let name = stage.name.as_deref().unwrap_or("");
        if platform.used.is_empty() && platform.unset.is_empty() && !name.contains(os) && !name.contains(architecture) {
            let message = format!("FROM --platform flag should not use constant value {}", quote(&platform.value));
            self.report(&rules::FROM_PLATFORM_FLAG_CONST_DISALLOWED, stage, message);
        }
    }

    /// InvalidBaseImagePlatform: the image has another operating system or architecture than the build asked for;
    /// all three as text.
    pub fn invalid_base_image_platform(&mut self, stage: &Stage, image: &str, expected: &str, actual: &str) {
        let (actual, expected) = (quote(actual), quote(expected));
        let message =
            format!("Base image {image} was pulled with platform {actual}, expected {expected} for current build");
        self.report(&rules::INVALID_BASE_IMAGE_PLATFORM, stage, message);
    }

    /// CopyIgnoredFile: a source of `COPY` or `ADD` from the build context is excluded by the ignore file (which
    /// has no exceptions).
    pub fn copy_ignored_file(&mut self, statement: &Statement, path: &str) {
        let command = if matches!(statement.instruction, Instruction::Add(_)) { "Add" } else { "Copy" };
        let message = format!("Attempting to {command} file {} that is excluded by .dockerignore", quote(path));
        self.report(&rules::COPY_IGNORED_FILE, statement, message);
    }

    /// WorkdirRelativePath: the first `WORKDIR` of a stage and of the stages it stands on, `path` expanded, is
    /// relative.
    pub fn relative_workdir<'a>(&mut self, at: impl Into<At<'a>>, path: &str) {
        if !path.starts_with('/') {
            let message =
                format!("Relative workdir {} can have unexpected results if the base image changes", quote(path));
            self.report(&rules::WORKDIR_RELATIVE_PATH, at, message);
        }
    }

    /// JSONArgsRecommended: `CMD` or `ENTRYPOINT` in the shell form, while neither stage nor base image has set a
    /// `SHELL`.
    pub fn json_args_recommended(&mut self, statement: &Statement) {
        let (Instruction::Cmd(crate::instruction::Cmd { command })
        | Instruction::Entrypoint(crate::instruction::Entrypoint { command })) = &statement.instruction
        else {
            return;
        };
        if matches!(command, CommandLine::Shell(_)) {
            let message = format!(
                "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
                statement.keyword
            );
            self.report(&rules::JSON_ARGS_RECOMMENDED, statement, message);
        }
    }

    /// MultipleInstructionsDisallowed: an instruction that counts only once comes again; the earlier one is told of.
    pub fn used_once(&mut self, statement: &Statement, tracker: &mut OnceTracker) {
        if let Some(place) = tracker.last {
            let message = format!(
                "Multiple {} instructions should not be used in the same stage because only the last one will be used",
                statement.keyword
            );
            let at = At { place, comments: &statement.comments };
            self.report(&rules::MULTIPLE_INSTRUCTIONS_DISALLOWED, at, message);
        }
        tracker.last = Some(statement.place());
    }

    /// LegacyKeyValueFormat: `ENV key value` or `LABEL key value`.
    pub fn legacy_key_value(&mut self, statement: &Statement) {
        let pairs = match &statement.instruction {
            Instruction::Env(env) => &env.variables,
            Instruction::Label(label) => &label.labels,
            _ => return,
        };
        for _ in pairs.iter().filter(|pair| pair.legacy) {
            let name = &statement.keyword;
            let message = format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format");
            self.report(&rules::LEGACY_KEY_VALUE_FORMAT, statement, message);
        }
    }

    /// SecretsUsedInArgOrEnv: the name of an argument, or of a variable expanded, sounds like a secret.
    /// `instruction` is `ARG` or `ENV`.
    pub fn secret_name<'a>(&mut self, at: impl Into<At<'a>>, instruction: &str, name: &str) {
        if sounds_secret(name) {
            let key = quote(name);
            let message = format!("Do not use ARG or ENV instructions for sensitive data ({instruction} {key})");
            self.report(&rules::SECRETS_USED_IN_ARG_OR_ENV, at, message);
        }
    }

    /// ExposeProtoCasing and ExposeInvalidFormat: `word` is the expanded word of an `EXPOSE`, `port` what it means.
    pub fn expose<'a>(&mut self, at: impl Into<At<'a>>, word: &str, port: &Port) {
        let at = at.into();
        if !port.protocol_is_lower {
            let message = format!("Defined protocol '{word}' in EXPOSE instruction should be lowercase");
            self.report(&rules::EXPOSE_PROTO_CASING, at, message);
        }
        if port.has_mapping {
            let message =
                format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'");
            self.report(&rules::EXPOSE_INVALID_FORMAT, at, message);
        }
    }
}

/// Tells whether one of the words of `name` (cut at `_`) is that of a secret, and none of something harmless.
fn sounds_secret(name: &str) -> bool {
    const SECRET: [&str; 10] =
        ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
    const HARMLESS: [&str; 3] = ["public", "file", "version"];
    let lower = name.to_lowercase();
    lower.split('_').any(|word| SECRET.contains(&word)) && !lower.split('_').any(|word| HARMLESS.contains(&word))
}
