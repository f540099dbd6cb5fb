//! What sources turned out to be: found out once for a build, whoever asks first, so that all of it sees one state of
//! the world.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::git::Target;
use super::http::Found;

/// What sources turned out to be.
#[derive(Default)]
pub(crate) struct Resolved {
    pub(super) git: Known<Target>,
    pub(super) http: Known<Found>,
}

/// Answers by what was asked.
pub(super) struct Known<T>(Mutex<HashMap<String, Arc<OnceCell<T>>>>);

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Known<T> {
    /// Returns the place of an answer.
    pub(super) fn place(&self, question: String) -> Arc<OnceCell<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(question).or_default().clone()
    }
}
