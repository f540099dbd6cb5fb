//! Who made which definition: a build may take what another one solved, and tell how that was asked for.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use prost::Message;
use rbuild_export::provenance::RequestProvenance;
use rbuild_graph::pb;

/// The requests that made definitions, by the first vertex of each; of builds under way only.
#[derive(Default)]
pub(crate) struct Producers {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    next: u64,
    by_head: HashMap<String, BTreeMap<u64, RequestProvenance>>,
}

/// Keeps a request known until it is dropped.
pub(super) struct Produced {
    producers: Weak<Producers>,
    head: String,
    id: u64,
}

impl Producers {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes known how a definition was asked for.
    pub(super) fn register(
        self: &Arc<Self>,
        definition: &pb::Definition,
        request: RequestProvenance,
    ) -> Option<Produced> {
        let head = head(definition)?;
        let mut known = self.known();
        known.next += 1;
        let id = known.next;
        known.by_head.entry(head.clone()).or_default().insert(id, request);
        Some(Produced { producers: Arc::downgrade(self), head, id })
    }

    /// Returns how a definition was asked for; none if nobody or several asked for it in different ways.
    pub(super) fn find(&self, definition: &pb::Definition) -> Option<RequestProvenance> {
        let head = head(definition)?;
        let known = self.known();
        let without_root = |request: &RequestProvenance| {
            let mut request = request.clone();
            request.request.root = None;
            request
        };
        let mut requests = known.by_head.get(&head)?.values().map(without_root);
        let first = requests.next()?;
        requests.all(|other| other == first).then_some(first)
    }
}

impl Drop for Produced {
    fn drop(&mut self) {
        let Some(producers) = self.producers.upgrade() else { return };
        let mut known = producers.known();
        if let Some(requests) = known.by_head.get_mut(&self.head) {
            requests.remove(&self.id);
            if requests.is_empty() {
                known.by_head.remove(&self.head);
            }
        }
    }
}

/// Returns the vertex whose output a definition is.
fn head(definition: &pb::Definition) -> Option<String> {
    let last = pb::Op::decode(definition.def.last()?.clone()).ok()?;
    last.inputs.into_iter().next().map(|input| input.digest)
}
