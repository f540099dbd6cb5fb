//! The typed instructions: one struct and one file for each.
//!
//! Nothing here is expanded: what may hold variables is a [`Template`](crate::Template) and stays one until somebody who knows
//! the scopes asks the [`expand`](crate::expand) module.

mod add;
mod arg;
mod command;
mod copy;
mod device;
mod env;
mod expose;
mod from;
mod healthcheck;
mod label;
mod maintainer;
mod mount;
mod onbuild;
mod run;
mod shell;
mod signal;
mod sources;
mod user;
mod volume;
mod workdir;

pub use add::Add;
pub use arg::{Arg, ArgDefinition};
pub use command::{Cmd, CommandLine, Entrypoint};
pub use copy::Copy;
pub use device::{Device, DeviceError};
pub use env::{Env, KeyValue};
pub use expose::{Expose, Port, PortError};
pub use from::From;
pub use healthcheck::{Healthcheck, HealthcheckCommand};
pub use label::Label;
pub use maintainer::Maintainer;
pub use mount::{Mount, MountError, MountFlag, MountKind, Sharing};
pub use onbuild::Onbuild;
pub use run::{HereFile, MAX_MOUNTS, Network, Run, Script, Security};
pub use shell::Shell;
pub use signal::StopSignal;
pub use sources::{InlineFile, Sources};
pub use user::User;
pub use volume::Volume;
pub use workdir::Workdir;

use crate::source::{Lines, Place, Span};

/// An instruction of a stage (`FROM`, which opens a stage, is a [`Stage`](crate::Stage)).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Instruction {
    Add(Add),
    Arg(Arg),
    Cmd(Cmd),
    Copy(Copy),
    Entrypoint(Entrypoint),
    Env(Env),
    Expose(Expose),
    Healthcheck(Healthcheck),
    Label(Label),
    Maintainer(Maintainer),
    Onbuild(Onbuild),
    Run(Run),
    Shell(Shell),
    StopSignal(StopSignal),
    User(User),
    Volume(Volume),
    Workdir(Workdir),
}

/// An instruction where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it says.
    pub instruction: Instruction,
    /// The instruction word as written (`Run`, `COPY`).
    pub keyword: String,
    /// The whole instruction as one line, continuations joined and heredoc bodies left out, trimmed.
    pub original: String,
    /// Its bytes, heredoc bodies included.
    pub span: Span,
    /// Its lines, heredoc bodies included.
    pub lines: Lines,
    /// The comment lines directly above it, `#` and blanks around them taken off.
    pub comments: Vec<String>,
}

impl Statement {
    /// Returns where the statement stands.
    pub fn place(&self) -> Place {
        Place { span: self.span, lines: self.lines }
    }
}
