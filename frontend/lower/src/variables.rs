//! Variables in the order in which they were last set, as they reach a process.

use rbuild_dockerfile::Environment;

/// Names and values; setting a name again moves it to the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Variables(Vec<(String, String)>);

impl Variables {
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.remove(name);
        self.0.push((name.to_owned(), value.into()));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Returns about how many bytes a copy takes.
    pub(crate) fn size(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len() + 2 * size_of::<String>()).sum()
    }

    /// Returns the list as `NAME=value`.
    pub(crate) fn to_list(&self) -> Vec<String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

impl Environment for Variables {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Splits `NAME=value`; without `=` the value is empty.
pub(crate) fn split(variable: &str) -> (&str, &str) {
    variable.split_once('=').unwrap_or((variable, ""))
}

/// Sets a variable of an image configuration where it stands, or at the end.
pub(crate) fn set_in_list(list: &mut Vec<String>, name: &str, value: &str) {
    let text = format!("{name}={value}");
    match list.iter_mut().find(|variable| split(variable).0 == name) {
        Some(place) => *place = text,
        None => list.push(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A015: an image keeps the position, a process gets the order of setting.
    // items: A015
    #[test]
    fn order_of_variables() {
        let mut variables = Variables::default();
        let mut list = Vec::new();
        for (name, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
            variables.set(name, value);
            set_in_list(&mut list, name, value);
        }
        assert_eq!(variables.to_list(), ["b=2", "a=3"]);
        assert_eq!(list, ["a=3", "b=2"]);
    }
}
