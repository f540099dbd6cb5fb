//! One question to a frontend and what came of it: the images it asked about, the results, the questions within.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rbuild_export::provenance::{Capture, ImageSource, Parameters, RequestProvenance, Sources};
use rbuild_graph::pb;
use rbuild_oci::Platform;

use super::producers::{Produced, Producers};
use crate::fault::Fault;
use crate::lazy::Lazy;

/// The most results and questions of one scope.
const MOST: usize = 100_000;

/// What a client or frontend asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Request {
    pub(crate) frontend: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) inputs: BTreeMap<String, pb::Definition>,
}

impl Request {
    fn is_empty(&self) -> bool {
        self.frontend.is_empty() && self.attributes.is_empty() && self.inputs.is_empty()
    }
}

/// A frontend at work, or the client itself.
pub(crate) struct Scope {
    producers: Arc<Producers>,
    /// What the frontend was asked; none for the client itself.
    request: Option<Request>,
    /// What the whole began with.
    root: Option<Request>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    images: Vec<ImageSource>,
    results: Vec<Arc<Lazy>>,
    inner: Vec<Arc<Scope>>,
    produced: Vec<Produced>,
}

impl Scope {
    /// Returns the scope of a client.
    pub(crate) fn of_client(request: Request, producers: Arc<Producers>) -> Arc<Self> {
        Arc::new(Self { producers, request: None, root: Some(request), seen: Mutex::default() })
    }

    /// Returns the scope of a frontend that is asked from within this one.
    pub(crate) fn of_frontend(&self, request: Request) -> Arc<Self> {
        let root = self.root.clone().filter(|root| !root.is_empty()).or_else(|| self.request.clone());
        Arc::new(Self { producers: self.producers.clone(), request: Some(request), root, seen: Mutex::default() })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an image that was asked about.
    pub(crate) fn add_image(&self, image: ImageSource) {
        let mut seen = self.seen();
        if seen.images.len() < MOST && !seen.images.contains(&image) {
            seen.images.push(image);
        }
    }

    /// Notes results that were made known here.
    pub(crate) fn add_results(&self, results: impl IntoIterator<Item = Arc<Lazy>>) -> Result<(), Fault> {
        let mut seen = self.seen();
        seen.results.extend(results);
        match seen.results.len() > MOST {
            true => Err(Fault::new(format!("a build may have {MOST} results"))),
            false => Ok(()),
        }
    }

    /// Notes that a frontend that was asked from here has answered.
    pub(crate) fn add_inner(&self, inner: Arc<Self>) -> Result<(), Fault> {
        let mut seen = self.seen();
        seen.inner.push(inner);
        match seen.inner.len() > MOST {
            true => Err(Fault::new(format!("a build may ask frontends {MOST} times"))),
            false => Ok(()),
        }
    }

    /// Lets other builds tell how these results were asked for, as long as this build lasts.
    pub(crate) fn publish(self: &Arc<Self>, results: &[Arc<Lazy>]) {
        for lazy in results {
            let Some(scope) = self.find(lazy) else { continue };
            let sources = lazy.capture().map(|capture| capture.sources).unwrap_or_default();
            let request = scope.request_provenance(&sources);
            let produced = request.and_then(|request| self.producers.register(lazy.definition(), request));
            self.seen().produced.extend(produced);
        }
    }

    /// Returns the innermost scope that a result is of.
    pub(super) fn find(self: &Arc<Self>, lazy: &Arc<Lazy>) -> Option<Arc<Self>> {
        let (inner, is_here) = {
            let seen = self.seen();
            (seen.inner.clone(), seen.results.iter().any(|known| Arc::ptr_eq(known, lazy)))
        };
        inner.iter().find_map(|scope| scope.find(lazy)).or_else(|| is_here.then(|| self.clone()))
    }

    fn each_result(&self, visit: &mut dyn FnMut(&Arc<Lazy>)) {
        let (results, inner) = {
            let seen = self.seen();
            (seen.results.clone(), seen.inner.clone())
        };
        results.iter().for_each(&mut *visit);
        inner.iter().for_each(|scope| scope.each_result(visit));
    }

    /// Returns all images that were asked about.
    fn all_images(&self) -> Vec<ImageSource> {
        let (mut images, inner) = {
            let seen = self.seen();
            (seen.images.clone(), seen.inner.clone())
        };
        images.extend(inner.iter().flat_map(|scope| scope.all_images()));
        images
    }

    /// Returns what a result of this scope was made of; none if it was never made. Of the other `results` of the
    /// build nothing is told, of what was made on the way to them everything.
    pub(super) fn capture(
        &self,
        lazy: &Arc<Lazy>,
        results: &[Arc<Lazy>],
        platform: Option<(&str, &[(String, Platform)])>,
    ) -> Option<Capture> {
        let mut capture = self.own_capture(lazy)?;
        let mut visited: HashSet<_> = results.iter().chain([lazy]).map(Arc::as_ptr).collect();
        self.each_result(&mut |other| {
            if visited.insert(Arc::as_ptr(other))
                && let Some(other) = other.capture()
            {
                capture.merge(other);
            }
        });
        let images = self.all_images();
        let images = match platform {
            Some((id, platforms)) => of_platform(images, id, platforms),
            None => images,
        };
        images.into_iter().for_each(|image| capture.add_image(image));
        capture.sort();
        Some(capture)
    }

    fn own_capture(&self, lazy: &Arc<Lazy>) -> Option<Capture> {
        let mut capture = lazy.capture()?;
        if let Some(provenance) = self.request_provenance(&capture.sources) {
            let request = self.request.as_ref()?;
            capture.request.frontend.clone_from(&request.frontend);
            capture.request.args = Parameters::filtered(&request.attributes);
            capture.request.inputs = provenance.request.inputs;
            capture.request.root = provenance.request.root;
        }
        Some(capture)
    }

    /// Returns how a frontend was asked; none for the client itself.
    fn request_provenance(&self, sources: &Sources) -> Option<RequestProvenance> {
        let provenance = self.provenance_of(self.request.as_ref()?, sources);
        let root = self.root.as_ref().filter(|root| !root.is_empty());
        let root = root.map(|root| self.provenance_of(root, sources)).filter(|root| {
            let told = &root.request;
            !(told.frontend.is_empty() && told.args.is_empty() && told.inputs.is_empty())
        });
        let root = root.filter(|root| *root != provenance).map(Box::new);
        let request = Parameters { root, ..provenance.request };
        Some(RequestProvenance { request, ..provenance })
    }

    fn provenance_of(&self, request: &Request, sources: &Sources) -> RequestProvenance {
        let args = Parameters::filtered(&request.attributes);
        let mut provenance = RequestProvenance::new(&request.frontend, &args, sources);
        let inputs = request.inputs.iter();
        provenance.request.inputs =
            inputs.filter_map(|(name, input)| Some((name.clone(), self.producers.find(input)?))).collect();
        provenance
    }
}

/// Leaves out images of other platforms, if they are there for all platforms of the result.
pub(super) fn of_platform(images: Vec<ImageSource>, id: &str, platforms: &[(String, Platform)]) -> Vec<ImageSource> {
    let Some((_, current)) = platforms.iter().find(|(known, _)| known == id) else { return images };
    let is_for = |image: &ImageSource, reference: &ImageSource, wanted: &Platform| {
        image.reference == reference.reference && image.platform.as_ref().is_some_and(|platform| wanted.same(platform))
    };
    let is_for_all = |image: &ImageSource| {
        platforms.iter().all(|(_, wanted)| images.iter().any(|other| is_for(other, image, wanted)))
    };
    let is_told = |image: &&ImageSource| match &image.platform {
        Some(platform) if is_for_all(image) => {
            (&platform.os, &platform.architecture) == (&current.os, &current.architecture)
        }
        _ => true,
    };
    images.iter().filter(is_told).cloned().collect()
}
