//! The third pass: images and contexts that stages begin with, looked up all at once.

use futures::future::join_all;
use rbuild_dockerfile::{Diagnostic, Phase, nearest};
use rbuild_graph::{Output, pb};
use rbuild_oci::{Digest, ImageConfig, Platform, Reference};

use crate::bridge::{BridgeError, ResolveMode};
use crate::context;
use crate::error::{Fallible, fail};
use crate::frontend::{Frontend, LocalContext};
use crate::git::GitRef;
use crate::lowered::{BaseImage, UsedImage};
use crate::named::{self, Kind, NamedContext};
use crate::names::{Step, named, with_command};
use crate::source_op;
use crate::stages::{Base, Plan, Unit, near_platform};
use crate::state::{State, empty_image, location};
use crate::text::platform_with_version;

/// What a unit begins with.
pub(crate) enum Found {
    Scratch,
    Image { reference: Reference, image: Box<ImageConfig> },
    Context { context: NamedContext, content: Content },
}

/// What a named context is.
pub(crate) enum Content {
    Scratch,
    Image { reference: Reference, image: Box<ImageConfig> },
    Layout { store: String, digest: Digest, image: Box<ImageConfig> },
    Git(Box<GitRef>),
    Http(String),
    Local { name: String, exclude: Vec<String> },
    Input { name: String },
}

/// Images that are meant more often than others, for "did you mean".
const COMMON: [&str; 7] = ["alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora"];

/// Refuses names that cannot be an image's, of stages that are not needed as well.
pub(crate) fn check_names(plan: &Plan<'_>) -> Fallible<()> {
    for unit in plan.units.iter().filter(|unit| unit.context.is_none()) {
        if let Base::Image(name) = &unit.base {
            Reference::parse(name).map_err(|error| misnamed(unit, plan, name, &error.to_string()))?;
        }
    }
    Ok(())
}

fn misnamed(unit: &Unit<'_>, plan: &Plan<'_>, name: &str, reason: &str) -> Box<Diagnostic> {
    let quoted = rbuild_dockerfile::literal::quote(name);
    let error = Diagnostic::error(Phase::Build, unit.place, format!("failed to parse stage name {quoted}: {reason}"));
    Box::new(error.with_suggestion(near(name, plan)))
}

fn near(name: &str, plan: &Plan<'_>) -> Option<String> {
    nearest(name, plan.labels().chain(COMMON), true)
}

/// Looks up what the `units` begin with; all at once, answers in the order of the questions.
pub(crate) async fn look_up(front: &Frontend<'_>, units: &[usize]) -> Vec<Fallible<Found>> {
    let answers = join_all(units.iter().map(|unit| look_up_one(front, &front.plan.units[*unit]))).await;
    // The first failure is the one that is told, and looking for near names takes time for each stage.
    let mut first = true;
    let mut tell = |Failure { diagnostic, unknown }: Failure| {
        let told = unknown.filter(|_| std::mem::take(&mut first));
        let near =
            told.and_then(|(name, platform)| near(&name, &front.plan).or_else(|| near_platform(&platform.to_string())));
        Box::new(diagnostic.with_suggestion(near))
    };
    answers.into_iter().map(|answer| answer.map_err(&mut tell)).collect()
}

/// Why something could not be looked up.
struct Failure {
    diagnostic: Box<Diagnostic>,
    /// The image's name and platform, if others may be meant.
    unknown: Option<(String, Platform)>,
}

impl From<Box<Diagnostic>> for Failure {
    fn from(diagnostic: Box<Diagnostic>) -> Self {
        Self { diagnostic, unknown: None }
    }
}

async fn look_up_one(front: &Frontend<'_>, unit: &Unit<'_>) -> Result<Found, Failure> {
    let platform = unit.platform.as_ref().unwrap_or(&front.target_platform);
    if let Some(context) = &unit.context {
        return Ok(look_up_context(front, unit, context, platform).await?);
    }
    let Base::Image(name) = &unit.base else {
        return Ok(Found::Scratch);
    };
    let reference = Reference::parse(name).map_err(|error| misnamed(unit, &front.plan, name, &error.to_string()))?;
    let context = named::find(&reference.familiar(), Some(platform), front.request);
    if let Some(context) = context.map_err(|reason| fail(unit.place, reason))? {
        return Ok(look_up_context(front, unit, &context, platform).await?);
    }
    let many = front.request.names_platforms();
    let prefix = if many { format!("{} ", platform_with_version(platform)) } else { String::new() };
    let shown = format!("[{prefix}internal] load metadata for {reference}");
    let answer = front.bridge.resolve_image(&reference, platform, front.request.resolve_mode, &shown).await;
    let found = answer.map_err(|error| {
        let diagnostic = fail(unit.place, format!("{name}: {}", error.chain()));
        Failure { diagnostic, unknown: Some((name.clone(), platform.clone())) }
    })?;
    Ok(Found::Image { reference: found.reference, image: Box::new(found.image) })
}

async fn look_up_context(
    front: &Frontend<'_>,
    unit: &Unit<'_>,
    context: &NamedContext,
    platform: &Platform,
) -> Fallible<Found> {
    let failed = |error: BridgeError| fail(unit.place, format!("context {}: {}", context.shown, error.chain()));
    let kind = context.kind().map_err(|reason| fail(unit.place, reason))?;
    let shown = |name: &str| format!("[context {}] load metadata for {name}", context.shown);
    let content = match kind {
        Kind::Scratch => Content::Scratch,
        Kind::Image(written) => {
            let mode = front.request.resolve_mode;
            let found = front
                .bridge
                .resolve_image(&written, platform, mode, &shown(context.written()))
                .await
                .map_err(failed)?;
            Content::Image { reference: found.reference, image: Box::new(found.image) }
        }
        Kind::Layout { store, digest } => {
            let name = shown(&format!("{}@{digest}", context.name));
            let found = front.bridge.resolve_layout(&store, digest, platform, &name).await.map_err(failed)?;
            Content::Layout { store, digest, image: Box::new(found.image) }
        }
        Kind::Git(git) => Content::Git(git),
        Kind::Http(address) => Content::Http(address),
        Kind::Local(name) => {
            let exclude = front.bridge.ignore_patterns(&name, &context.shown).await.map_err(failed)?;
            Content::Local { name, exclude }
        }
        Kind::Input(name) if front.request.inputs.contains_key(&name) => Content::Input { name },
        Kind::Input(name) => return Err(fail(unit.place, format!("invalid input {name} for {}", context.shown))),
    };
    Ok(Found::Context { context: context.clone(), content })
}

impl Frontend<'_> {
    /// Makes the first op of a unit and the state it begins with.
    pub(crate) fn settle(&mut self, index: usize, found: Found) -> Fallible<()> {
        let unit = &self.plan.units[index];
        let (asked, is_stage, replaced) = (unit.platform.clone(), unit.stage.is_some(), unit.context.is_some());
        let platform = asked.clone().unwrap_or_else(|| self.target_platform.clone());
        let mut state = State::empty(platform.clone(), index, self.globals.variables.none());
        match found {
            Found::Scratch => {
                state.platform = self.target_platform.clone();
                state.image = empty_image(&self.target_platform);
            }
            Found::Image { reference, image } => {
                state.platform = self.actual_platform(&image, platform, asked.is_some());
                self.begin_with_image(index, &mut state, reference, *image);
            }
            Found::Context { context, content } => {
                let image = self.open_context(index, &context, content, &mut state)?;
                match image {
                    Some(image) => {
                        state.base = Some(BaseImage { reference: None, config: image.clone() });
                        state.image = ImageConfig { created: None, ..image };
                        if replaced && !state.image.os.is_empty() && !state.image.architecture.is_empty() {
                            state.platform = image_platform(&state.image);
                        }
                    }
                    // What stands upon it is for some machine, too; nothing else is known of it.
                    None if replaced => {
                        state.image.os.clone_from(&platform.os);
                        state.image.architecture.clone_from(&platform.architecture);
                        state.image.variant.clone_from(&platform.variant);
                    }
                    None => {
                        state.image = empty_image(&platform);
                        state.base = Some(BaseImage { reference: None, config: state.image.clone() });
                    }
                }
                state.exec_platform = Some(state.platform.clone());
            }
        }
        self.walked[index] = replaced || !is_stage;
        self.states[index] = Some(state);
        Ok(())
    }

    /// G009: without a wish, the image decides among what can run here.
    fn actual_platform(&self, image: &ImageConfig, wanted: Platform, asked: bool) -> Platform {
        let build = &self.request.build_platform;
        let is = |platform: &Platform| platform.os == image.os && platform.architecture == image.architecture;
        if !asked && self.request.platform.is_none() && !is(&wanted) && is(build) { build.clone() } else { wanted }
    }

    /// Builds upon an input, which is read once however many stages begin with it.
    fn open_input(&mut self, name: &str) -> Result<Option<Output>, String> {
        if let Some(output) = self.inputs.get(name) {
            return Ok(*output);
        }
        let output = context::open_input(name, self.request, &mut self.builder)?;
        self.inputs.insert(name.to_owned(), output);
        Ok(output)
    }

    fn begin_with_image(&mut self, index: usize, state: &mut State, reference: Reference, image: ImageConfig) {
        let unit = &self.plan.units[index];
        let Base::Image(name) = &unit.base else { return };
        self.used.push(UsedImage {
            name: name.clone(),
            reference: reference.clone(),
            platform: state.platform.clone(),
        });
        let empty = image.rootfs.diff_ids.is_empty() && image.history.iter().all(|entry| entry.empty_layer);
        if !empty {
            let text = format!("FROM {reference}");
            state.own.counter = self.counter(index);
            let step = Step { text: &text, platform: &state.platform, variables: None, on_build: false };
            let command = unit.stage.map_or("", |stage| stage.original.as_str());
            let metadata = with_command(named(state.own.counter.next(&step)), command);
            let places = unit.stage.map(|stage| location(stage.lines));
            let source = source_op::image(&reference, self.request.resolve_mode.attribute());
            state.output = Some(source_op::add_source(
                &mut self.builder,
                source,
                Some(&state.platform),
                &metadata,
                places.as_slice(),
            ));
            state.exec_platform = Some(state.platform.clone());
            let same = state.platform.os == image.os && state.platform.architecture == image.architecture;
            if let Some(stage) = unit.stage.filter(|_| !same) {
                let shown = |platform: Platform| platform_with_version(&platform.normalise());
                let (expected, actual) = (shown(state.platform.clone()), shown(image_platform(&image)));
                self.linter.invalid_base_image_platform(stage, name, &expected, &actual);
            }
        }
        state.base = Some(BaseImage { reference: Some(reference), config: image.clone() });
        state.image = ImageConfig { created: None, ..image };
    }

    fn open_context(
        &mut self,
        index: usize,
        context: &NamedContext,
        content: Content,
        state: &mut State,
    ) -> Fallible<Option<ImageConfig>> {
        let name = |text: &str| named(format!("[context {}] {text}", context.shown));
        let session = self.request.session.as_deref();
        let (source, platform, metadata, image): (pb::SourceOp, _, _, _) = match content {
            Content::Scratch => return Ok(None),
            Content::Local { name, exclude } => {
                let node = self.builder.reserve();
                state.output = Some(node.output(0));
                self.locals.push(LocalContext { node, unit: index, name, shown: context.shown.clone(), exclude });
                return Ok(None);
            }
            Content::Input { name } => {
                let output = self.open_input(&name).map_err(|reason| fail(self.plan.units[index].place, reason))?;
                state.output = output;
                return Ok(self.request.inputs.get(&name).and_then(|input| input.config.clone()));
            }
            Content::Git(git) => {
                (source_op::git(&git), None, named(format!("[internal] load git source {}", context.input)), None)
            }
            Content::Http(address) => (source_op::http(&address, "context", None), None, name(&address), None),
            Content::Image { reference, image } => {
                let used = UsedImage {
                    name: context.name.clone(),
                    reference: reference.clone(),
                    platform: state.platform.clone(),
                };
                self.used.push(used);
                let mode = Some(self.request.resolve_mode).filter(|mode| *mode != ResolveMode::Default);
                let source = source_op::image(&reference, mode.and_then(ResolveMode::attribute));
                (source, Some(state.platform.clone()), name(context.written()), Some(*image))
            }
            Content::Layout { store, digest, image } => {
                let shown = Reference::parse(&context.name)
                    .map_err(|error| fail(self.plan.units[index].place, error.to_string()))?;
                let source = source_op::layout(&shown, &store, digest, session);
                (source, Some(state.platform.clone()), name("OCI load from client"), Some(*image))
            }
        };
        let output: Output = source_op::add_source(&mut self.builder, source, platform.as_ref(), &metadata, &[]);
        state.output = Some(output);
        Ok(image)
    }
}

fn image_platform(image: &ImageConfig) -> Platform {
    Platform {
        architecture: image.architecture.clone(),
        os: image.os.clone(),
        os_version: image.os_version.clone(),
        os_features: image.os_features.clone(),
        variant: image.variant.clone(),
    }
}
