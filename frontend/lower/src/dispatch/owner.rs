//! Owners and modes of copied files.

use rbuild_dockerfile::Place;
use rbuild_graph::pb;

use super::Walk;
use crate::error::{Fallible, fail};

impl Walk<'_, '_> {
    /// Reads `user[:group]`. Names are looked up in the file system that is copied to, so there must
    /// be one (`has_base`): with `--link` there is none.
    pub(super) fn owner(&self, text: &str, has_base: bool, place: Place) -> Fallible<pb::ChownOpt> {
        let id = |name: &str| -> Fallible<pb::UserOpt> {
            let user = match numeric(name).map_err(|reason| fail(place, reason))? {
                Some(id) => pb::User::ById(id),
                None if !has_base => {
                    let message =
                        format!("invalid user index: -1: {name:?} cannot be looked up where nothing is below");
                    let mut error = fail(place, message);
                    error.hint = Some("use numeric ids, or leave out --link".to_owned());
                    return Err(error);
                }
                None => pb::User::ByName(pb::NamedUserOpt { name: name.to_owned(), input: 0 }),
            };
            Ok(pb::UserOpt { user: Some(user) })
        };
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        Ok(pb::ChownOpt { user: Some(id(user)?), group: group.map(id).transpose()? })
    }
}

/// Returns the id if `name` is one; nothing at all means root.
fn numeric(name: &str) -> Result<Option<u32>, String> {
    if matches!(name, "" | "root") {
        return Ok(Some(0));
    }
    match name.parse::<i32>() {
        Ok(id) => u32::try_from(id).map(Some).map_err(|_| format!("invalid owner `{name}`: ids are not negative")),
        Err(_) => Ok(None),
    }
}

/// A mode as `--chmod` gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    Bits(i32),
    Symbolic(String),
}

/// Reads `--chmod` (C013).
pub(super) fn mode(text: &str) -> Result<Mode, String> {
    let not_octal = || format!("invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777");
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        let bits = i32::from_str_radix(text, 8).map_err(|_| not_octal())?;
        return if bits <= 0o7777 { Ok(Mode::Bits(bits)) } else { Err(not_octal()) };
    }
    if is_symbolic(text) {
        Ok(Mode::Symbolic(text.to_owned()))
    } else {
        Err(format!(
            "invalid chmod parameter: '{text}': invalid syntax, expected octal like 0755 or symbolic like u=rwX,go=rX"
        ))
    }
}

/// Returns whether `text` is `[ugoa]*([-+=][rwxXstugo]*)+`, once or several times with commas.
fn is_symbolic(text: &str) -> bool {
    text.split(',').all(|clause| {
        let changes = clause.trim_start_matches(['u', 'g', 'o', 'a']);
        changes.starts_with(['+', '-', '=']) && changes.chars().all(|c| "+-=rwxXstugo".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // items: C013
    #[test]
    fn c013_modes() {
        for (text, bits) in [("755", 0o755), ("0", 0), ("04755", 0o4755), ("7777", 0o7777)] {
            assert_eq!(mode(text), Ok(Mode::Bits(bits)));
        }
        for text in ["u=rwX,go=rX", "+x", "g=u", "a-w", "u+s,+t", "u=r+w", "="] {
            assert_eq!(mode(text), Ok(Mode::Symbolic(text.to_owned())), "{text}");
        }
        for text in ["64a", "10000", "8"] {
            assert_eq!(
                mode(text),
                Err(format!("invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"))
            );
        }
        for text in ["", "u", "x", "u=rw,", "rwx", "u=q", "-1"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }

    // items: C012
    #[test]
    fn c012_ids() {
        assert_eq!(numeric("root"), Ok(Some(0)));
        assert_eq!(numeric(""), Ok(Some(0)));
        assert_eq!(numeric("1000"), Ok(Some(1000)));
        assert_eq!(numeric("app"), Ok(None));
        assert_eq!(numeric("4294967295"), Ok(None));
        assert!(numeric("-1").is_err());
    }
}
