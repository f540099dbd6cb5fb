//! Permission bits: octal, and symbolic as `chmod` has them (`u=rwX,go=rX`), with umask 0.

/// How the permission bits of copied files are chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As they are.
    Kept,
    /// These bits.
    Octal(u32),
    /// These clauses, applied one after the other.
    Symbolic(Vec<Clause>),
}

/// One `who op permissions` of a symbolic mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clause {
    /// 0o700, 0o070 and 0o007 or'ed.
    who: u32,
    operation: char,
    /// Permissions as 0o7, and who they are copied from.
    bits: u32,
    copy_from: Option<u32>,
    execute_if: bool,
    set_id: bool,
    sticky: bool,
}

impl Mode {
    /// Parses a symbolic mode.
    pub(crate) fn symbolic(text: &str) -> Result<Self, String> {
        let mut clauses = Vec::new();
        for clause in text.split(',') {
            parse_clause(clause, &mut clauses).ok_or_else(|| format!("invalid chmod parameter: '{text}'"))?;
        }
        Ok(Self::Symbolic(clauses))
    }

    /// Returns the bits for a file that has `mode`.
    pub(crate) fn apply(&self, mode: u32, directory: bool) -> u32 {
        match self {
            Self::Kept => mode,
            Self::Octal(bits) => *bits,
            Self::Symbolic(clauses) => clauses.iter().fold(mode, |mode, clause| clause.apply(mode, directory)),
        }
    }
}

fn parse_clause(text: &str, clauses: &mut Vec<Clause>) -> Option<()> {
    let split = text.find(['+', '-', '='])?;
    let (who_text, mut rest) = text.split_at(split);
    let mut who = 0;
    for c in who_text.chars() {
        who |= match c {
            'u' => 0o700,
            'g' => 0o070,
            'o' => 0o007,
            'a' => 0o777,
            _ => return None,
        };
    }
    let who = if who_text.is_empty() { 0o777 } else { who };
    while let Some(operation) = rest.chars().next() {
        let body = &rest[1..];
        let end = body.find(['+', '-', '=']).unwrap_or(body.len());
        clauses.push(permissions(&body[..end], who, operation)?);
        rest = &body[end..];
    }
    Some(())
}

fn permissions(text: &str, who: u32, operation: char) -> Option<Clause> {
    let mut clause =
        Clause { who, operation, bits: 0, copy_from: None, execute_if: false, set_id: false, sticky: false };
    for c in text.chars() {
        match c {
            'r' => clause.bits |= 4,
            'w' => clause.bits |= 2,
            'x' => clause.bits |= 1,
            'X' => clause.execute_if = true,
            's' => clause.set_id = true,
            't' => clause.sticky = true,
            'u' if text.len() == 1 => clause.copy_from = Some(6),
            'g' if text.len() == 1 => clause.copy_from = Some(3),
            'o' if text.len() == 1 => clause.copy_from = Some(0),
            _ => return None,
        }
    }
    Some(clause)
}

impl Clause {
    fn apply(&self, mode: u32, directory: bool) -> u32 {
        let mut bits = self.bits | self.copy_from.map_or(0, |shift| mode >> shift & 7);
        if self.execute_if && (directory || mode & 0o111 != 0) {
            bits |= 1;
        }
        let mut set = (bits << 6 | bits << 3 | bits) & self.who;
        if self.set_id {
            set |= if self.who & 0o700 != 0 { 0o4000 } else { 0 } | if self.who & 0o070 != 0 { 0o2000 } else { 0 };
        }
        if self.sticky {
            set |= 0o1000;
        }
        match self.operation {
            '+' => mode | set,
            '-' => mode & !set,
            _ => (mode & !self.who) | set,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // items: C013
    #[test]
    fn symbolic_modes() {
        for (text, before, directory, after) in [
            ("+x", 0o644, false, 0o755),
            ("u+x", 0o644, false, 0o744),
            ("go-w", 0o666, false, 0o644),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("g=u", 0o750, false, 0o770),
            ("a=r", 0o777, false, 0o444),
            ("u+s", 0o755, false, 0o4755),
            ("+t", 0o777, true, 0o1777),
            ("u=rw,g=r,o=", 0o777, false, 0o640),
        ] {
            assert_eq!(Mode::symbolic(text).unwrap().apply(before, directory), after, "{text} on {before:o}");
        }
        for bad in ["", "x", "u", "u?x", "z+x", "u+xyz"] {
            assert!(Mode::symbolic(bad).is_err(), "{bad}");
        }
    }
}
