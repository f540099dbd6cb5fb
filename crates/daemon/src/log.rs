//! What the daemon says of itself to whoever started it.

use std::fmt;
use std::sync::Arc;

/// How important a message is; the least important last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something should be looked at.
    Warning,
    /// What happens.
    Info,
    /// What happens in detail.
    Debug,
}

impl Level {
    /// Returns the name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// Returns the level of a name of BuildKit's; what is finer than ours is `debug`, what is coarser is `error`.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "panic" | "fatal" | "error" => Self::Error,
            "warn" | "warning" => Self::Warning,
            "info" => Self::Info,
            "debug" | "trace" => Self::Debug,
            _ => return None,
        })
    }
}

type Sink = dyn Fn(Level, &str) + Send + Sync;

/// Where messages go; clones share the way.
#[derive(Clone)]
pub struct Log {
    level: Level,
    sink: Arc<Sink>,
}

impl Log {
    /// Hands messages of `level` and more important ones to `sink`.
    pub fn new(level: Level, sink: impl Fn(Level, &str) + Send + Sync + 'static) -> Self {
        Self { level, sink: Arc::new(sink) }
    }

    /// Takes messages nowhere.
    pub fn silent() -> Self {
        Self::new(Level::Error, |_, _| {})
    }

    /// Says that something failed.
    pub fn error(&self, message: impl fmt::Display) {
        self.say(Level::Error, message);
    }

    /// Says that something should be looked at.
    pub fn warning(&self, message: impl fmt::Display) {
        self.say(Level::Warning, message);
    }

    /// Says what happens.
    pub fn info(&self, message: impl fmt::Display) {
        self.say(Level::Info, message);
    }

    /// Says what happens in detail.
    pub fn debug(&self, message: impl fmt::Display) {
        self.say(Level::Debug, message);
    }

    fn say(&self, level: Level, message: impl fmt::Display) {
        if level <= self.level {
            (self.sink)(level, &message.to_string());
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("level", &self.level).finish_non_exhaustive()
    }
}
