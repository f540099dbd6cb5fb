//! Signals by their names.

/// Names of signals, the number of the first being 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
/// Other names of the same signals.
const OTHERS: [(&str, i32); 4] = [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31)];
/// The first and the last signal for applications.
const REAL_TIME: (i32, i32) = (34, 64);

/// Returns the number of a signal.
pub(super) fn number(name: &str) -> Option<i32> {
    let name = name.strip_prefix("SIG").unwrap_or(name);
    if let Some(at) = NAMES.iter().position(|known| *known == name) {
        return i32::try_from(at + 1).ok();
    }
    if let Some((_, number)) = OTHERS.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let offset = |text: &str| if text.is_empty() { Some(0) } else { text.get(1..)?.parse::<i32>().ok() };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) if rest.is_empty() || rest.starts_with('+') => REAL_TIME.0.checked_add(offset(rest)?)?,
        (_, Some(rest)) if rest.is_empty() || rest.starts_with('-') => REAL_TIME.1.checked_sub(offset(rest)?)?,
        _ => return None,
    };
    (REAL_TIME.0..=REAL_TIME.1).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn names() {
        for (name, expect) in [
            ("HUP", Some(1)),
            ("SIGHUP", Some(1)),
            ("KILL", Some(9)),
            ("TERM", Some(15)),
            ("CHLD", Some(17)),
            ("CLD", Some(17)),
            ("SYS", Some(31)),
            ("RTMIN", Some(34)),
            ("RTMIN+3", Some(37)),
            ("RTMAX-14", Some(50)),
            ("RTMAX", Some(64)),
            ("RTMIN+31", None),
            ("RTMAX-99999999999", None),
            ("RTMIN+-1", None),
            ("", None),
            ("9", None),
            ("hup", None),
        ] {
            assert_eq!(number(name), expect, "{name}");
        }
    }
}
