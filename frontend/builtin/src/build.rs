//! A request from attributes to results.

use std::collections::BTreeMap;

use futures::future::join_all;
use rbuild_dockerfile::Diagnostic;
use rbuild_dockerfile::render::Color;
use rbuild_lower::{Input, LowerError, Lowered, MainContext, Request, Subrequest, answer, lower, read as parse};
use rbuild_oci::Platform;
use rbuild_tree::pattern::Matcher;

use crate::answered::{Answered, Asked};
use crate::attributes::Attributes;
use crate::bridge::Asking;
use crate::caps::{self, Checked};
use crate::dockerfile::{self, Read};
use crate::error::BuiltinError;
use crate::host::Host;
use crate::place::Place;
use crate::{convert, ignore, inputs, place, question, results, scan, syntax};

/// Answers a request. Nothing of the result is evaluated; what the frontend itself must know of the context (the
/// Dockerfile, ignore files, what is behind an address) is asked of the host.
///
/// # Errors
/// If the request or the Dockerfile cannot be used, or the host fails.
pub async fn build(asked: Asked<'_>, host: &dyn Host) -> Result<Answered, BuiltinError> {
    let build_platform = asked.platforms.first().cloned().unwrap_or_else(Platform::host).normalise();
    let attributes = Attributes::read(asked.attributes, &build_platform)?;
    let checked = caps::check(attributes.get("frontend.caps").unwrap_or_default())?;
    let inputs = inputs::read(asked.inputs, &attributes)?;
    let place = place::find(&attributes, &inputs, host).await?;
    let sessions = attributes.request.local_sessions.clone();
    let session_of = |name: &str| sessions.get(name).map(String::as_str).or(asked.session);
    let read = dockerfile::read(&place, session_of, host).await?;
    syntax::check(&read, &attributes)?;
    if let Checked::Elsewhere(error) = checked {
        return Err(error);
    }
    let request = request(&attributes, place, inputs, &read, asked.session, host).await?;
    let ignore = match &request.context {
        MainContext::Local { exclude, .. } => Matcher::new(exclude)
            .map_err(|error| BuiltinError::Request(format!("failed to read dockerignore patterns: {error}")))?,
        _ => Matcher::default(),
    };
    let asking = Asking::new(host, asked.session, &sessions, ignore);
    let frontend = Frontend { attributes: &attributes, read: &read, request, asking };
    match attributes.get("requestid") {
        Some(name) => frontend.answer(name).await,
        None => frontend.results(&build_platform).await,
    }
}

/// Joins what the attributes say with what was found of the context.
async fn request(
    attributes: &Attributes<'_>,
    place: Place,
    inputs: BTreeMap<String, Input>,
    read: &Read,
    session: Option<&str>,
    host: &dyn Host,
) -> Result<Request, BuiltinError> {
    let context = match place.context {
        MainContext::Local { name, .. } => {
            let exclude = match &read.ignore {
                Some(bytes) => ignore::patterns(&format!("{}.dockerignore", place.filename), bytes)?,
                None => {
                    let own = attributes.request.local_sessions.get(&name).map(String::as_str);
                    ignore::of_context(&name, own.or(session), host).await?
                }
            };
            MainContext::Local { name, exclude }
        }
        other => other,
    };
    Ok(Request {
        context,
        context_directory: place.directory,
        inputs,
        session: session.map(str::to_owned),
        filename: place.filename,
        origin: read.info.definition.clone(),
        ..attributes.request.clone()
    })
}

/// Everything that is known when the Dockerfile is lowered.
struct Frontend<'a> {
    attributes: &'a Attributes<'a>,
    read: &'a Read,
    request: Request,
    asking: Asking<'a>,
}

impl Frontend<'_> {
    /// Answers a question; the first platform is the one it is about.
    async fn answer(&self, name: &str) -> Result<Answered, BuiltinError> {
        let request = Request { platform: self.attributes.platforms.first().cloned(), ..self.request.clone() };
        if name == convert::NAME {
            self.refuse_empty()?;
            let lowered = self.told(vec![self.lower(request).await])?;
            let definition = lowered.into_iter().next().map(|lowered| lowered.definition);
            return convert::answered(&definition.unwrap_or_default());
        }
        let asked = Subrequest::named(name).ok_or_else(|| BuiltinError::Subrequest(name.to_owned()))?;
        if asked == Subrequest::Outline {
            self.refuse_empty()?;
        }
        let answer = answer(asked, &self.read.text, &request, &self.asking, Color::Never).await;
        Ok(question::answered(answer.map_err(|error| self.read.refused(error.diagnostics))?))
    }

    /// Lowers the Dockerfile for each platform.
    async fn results(&self, build_platform: &Platform) -> Result<Answered, BuiltinError> {
        self.refuse_empty()?;
        let wanted: Vec<Option<Platform>> = match self.attributes.platforms.as_slice() {
            [] => vec![None],
            several => several.iter().cloned().map(Some).collect(),
        };
        let scanner = match &self.attributes.scanner {
            Some(scanner) => {
                Some(scan::prepare(scanner, build_platform, self.request.resolve_mode, &self.asking).await?)
            }
            None => None,
        };
        let requests = wanted.into_iter().map(|platform| Request { platform, ..self.request.clone() });
        let answers = join_all(requests.map(|request| self.lower(request))).await;
        let lowered = self.told(answers)?;
        let platforms = &self.attributes.platforms;
        let exported = results::platforms(platforms, build_platform, &lowered);
        let attestations = match &scanner {
            Some(scanner) => scanner.scan_all(&exported, &lowered)?,
            None => BTreeMap::new(),
        };
        Ok(Answered { attestations, ..results::answered(exported, lowered, self.attributes.multi_platform) })
    }

    /// Lowers the Dockerfile for one platform.
    async fn lower(&self, request: Request) -> Result<Lowered, LowerError> {
        let text = &self.read.text;
        let dockerfile = parse(text, &request)?;
        lower(&dockerfile, text, &request, &self.asking).await
    }

    /// Tells the warnings, which are the same for each platform, and returns the first error.
    fn told(&self, answers: Vec<Result<Lowered, LowerError>>) -> Result<Vec<Lowered>, BuiltinError> {
        let found = |answer: &Result<Lowered, LowerError>| match answer {
            Ok(lowered) => lowered.warnings.clone(),
            Err(error) => error.diagnostics.clone(),
        };
        let first: Vec<Diagnostic> = answers.first().map(found).unwrap_or_default();
        self.read.warn(&first, self.asking.host);
        let lowered: Result<_, LowerError> = answers.into_iter().collect();
        lowered.map_err(|error| self.read.refused(error.diagnostics))
    }

    fn refuse_empty(&self) -> Result<(), BuiltinError> {
        match self.read.text.is_empty() {
            true => Err(BuiltinError::Request("the Dockerfile cannot be empty".to_owned())),
            false => Ok(()),
        }
    }
}
