//! `STOPSIGNAL signal`

use crate::problem::Problem;
use crate::request::Request;
use crate::source::Template;
use crate::suggest;

/// Sets the signal that stops the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopSignal {
    /// Name or number, expanded later; check it then with [`StopSignal::is_valid`].
    pub signal: Template,
}

const NAMES: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

impl StopSignal {
    /// Flags in front of the signal are not looked at, as BuildKit does not either.
    pub(crate) fn read(request: &Request<'_>) -> Result<Self, Problem> {
        Ok(Self { signal: request.only_argument()? })
    }

    /// Returns the nearest signal to one that is not valid, with `SIG` if that was written.
    pub fn nearest(signal: &str) -> Option<String> {
        let upper = signal.to_uppercase();
        match upper.strip_prefix("SIG") {
            Some(name) => suggest::nearest(name, NAMES, true).map(|name| format!("SIG{name}")),
            None => suggest::nearest(&upper, NAMES, true),
        }
    }

    /// Checks an expanded signal: any number but 0, or a name with or without `SIG`, or `RTMIN+n`, `RTMAX-n`.
    pub fn is_valid(signal: &str) -> bool {
        if let Ok(number) = signal.parse::<i64>() {
            return number != 0;
        }
        let upper = signal.to_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let offset = |prefix: &str, last: u8| {
            let digits = name.strip_prefix(prefix).filter(|digits| !digits.starts_with(['0', '+']));
            digits.and_then(|digits| digits.parse::<u8>().ok()).is_some_and(|n| (1..=last).contains(&n))
        };
        NAMES.contains(&name) || offset("RTMIN+", 15) || offset("RTMAX-", 14)
    }
}
