//! What a command did, and what a test expects of it.

/// What a command did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) what: String,
    /// The exit code; 128 and the signal if one ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    fn all(&self) -> String {
        format!("{}\nexit code {}\n{}\n{}", self.what, self.code, self.stdout, self.stderr)
    }

    /// It must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.all());
        self
    }

    /// It must have ended with this exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.all());
        self
    }

    /// Standard error must have this text.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "`{text}` is not said: {}", self.all());
        self
    }

    /// Neither stream may have this text.
    #[track_caller]
    pub(crate) fn says_not(self, text: &str) -> Self {
        assert!(!self.stderr.contains(text) && !self.stdout.contains(text), "`{text}` is said: {}", self.all());
        self
    }

    /// Standard output must be this.
    #[track_caller]
    pub(crate) fn prints(self, text: impl AsRef<str>) -> Self {
        assert_eq!(self.stdout.trim_end(), text.as_ref(), "{}", self.all());
        self
    }

    /// Returns standard output without the line's end.
    pub(crate) fn line(&self) -> &str {
        self.stdout.trim_end()
    }
}
