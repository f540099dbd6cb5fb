//! Variables in the order in which they were last set, as they reach a process.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rbuild_dockerfile::Environment;

/// How many steps all words of a Dockerfile may take.
pub(crate) const MAX_STEPS: usize = 1 << 29;

/// The most variables of a stage, and before the first.
pub(crate) const MAX_VARIABLES: usize = 10_000;

/// Names and values; setting a name again moves it to the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variables {
    /// Where in `values` each name is.
    places: HashMap<String, usize>,
    values: BTreeMap<usize, (String, String)>,
    /// Steps that words took, of all variables that came from the same first ones.
    steps: Arc<AtomicUsize>,
}

impl Variables {
    /// Returns no variables, whose words count as those of these do.
    pub(crate) fn none(&self) -> Self {
        Self { steps: Arc::clone(&self.steps), ..Self::default() }
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.remove(name);
        let place = self.values.last_key_value().map_or(0, |(last, _)| last + 1);
        self.places.insert(name.to_owned(), place);
        self.values.insert(place, (name.to_owned(), value.into()));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        if let Some(place) = self.places.remove(name) {
            self.values.remove(&place);
        }
    }

    pub(crate) fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.values.values().map(|(name, _)| name.as_str())
    }

    /// Returns about how many bytes a copy takes.
    pub(crate) fn size(&self) -> usize {
        self.values.values().map(|(name, value)| 2 * name.len() + value.len() + 4 * size_of::<String>()).sum()
    }

    /// Returns the list as `NAME=value`.
    pub(crate) fn to_list(&self) -> Vec<String> {
        self.values.values().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

impl Environment for Variables {
    fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.values.get(self.places.get(name)?)?;
        Some(value)
    }

    fn spend(&self, steps: usize) -> Result<(), usize> {
        let spent = self.steps.fetch_add(steps, Ordering::Relaxed).saturating_add(steps);
        if spent > MAX_STEPS { Err(MAX_STEPS) } else { Ok(()) }
    }
}

/// Splits `NAME=value`; without `=` the value is empty.
pub(crate) fn split(variable: &str) -> (&str, &str) {
    variable.split_once('=').unwrap_or((variable, ""))
}

/// Sets variables of an image configuration where they stand, or at the end.
pub(crate) fn set_in_list(list: &mut Vec<String>, pairs: &[(String, String)]) {
    if let [(name, value)] = pairs {
        let text = format!("{name}={value}");
        match list.iter_mut().find(|variable| split(variable).0 == name) {
            Some(place) => *place = text,
            None => list.push(text),
        }
        return;
    }
    let mut places: HashMap<String, usize> = HashMap::new();
    for (place, variable) in list.iter().enumerate() {
        places.entry(split(variable).0.to_owned()).or_insert(place);
    }
    for (name, value) in pairs {
        let text = format!("{name}={value}");
        match places.get(name) {
            Some(place) => list[*place] = text,
            None => {
                places.insert(name.clone(), list.len());
                list.push(text);
            }
        }
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
        let pairs = [("a", "1"), ("b", "2"), ("a", "3")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        pairs.iter().for_each(|(name, value)| variables.set(name, value));
        assert_eq!(variables.to_list(), ["b=2", "a=3"]);
        for step in [1, 3] {
            let mut list = Vec::new();
            pairs.chunks(step).for_each(|pairs| set_in_list(&mut list, pairs));
            assert_eq!(list, ["a=3", "b=2"]);
        }
    }
}
