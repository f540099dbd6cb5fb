//! Named contexts that are stages of the same Dockerfile (`target:stage`): the stage takes the place of what is
//! called so, be it a stage, a base or what `--from` names.

use std::collections::BTreeSet;

use rbuild_dockerfile::{Diagnostic, Phase, Place, nearest};
use rbuild_oci::{Platform, Reference};

use crate::error::{Fallible, fail};
use crate::named::{self, NamedContext};
use crate::stages::{Base, Plan};

impl Plan<'_> {
    /// Puts stages in the place of bases and of whole stages, where named contexts say so (`target:stage`). Returns
    /// the stages that are replaced as a whole.
    pub(crate) fn substitute_stages(&mut self) -> Fallible<BTreeSet<usize>> {
        let mut replaced = BTreeSet::new();
        for index in 0..self.declared {
            let unit = &self.units[index];
            let (place, platform) = (unit.place, unit.platform.as_ref());
            let found = match (&unit.context, &unit.base) {
                (Some(context), _) => self.stage_of_context(context, place)?,
                (None, Base::Image(name)) => self.substitute(name, platform, place)?,
                (None, _) => None,
            };
            let Some(base) = found else { continue };
            if base >= index {
                let (label, base) = (&unit.label, &self.units[base].label);
                let message = format!(
                    "stage \"{base}\" takes the place of what stage \"{label}\" needs, and must be defined before it"
                );
                return Err(fail(place, message));
            }
            let unit = &mut self.units[index];
            unit.base = Base::Unit(base);
            if unit.context.take().is_some() {
                replaced.insert(index);
            } else {
                unit.steps -= 1;
            }
        }
        Ok(replaced)
    }

    /// Returns the stage that a named context puts in the place of the image `name`.
    pub(crate) fn substitute(&self, name: &str, platform: Option<&Platform>, place: Place) -> Fallible<Option<usize>> {
        // Names that cannot be an image's are told of where images are looked up.
        let Ok(reference) = Reference::parse(name) else { return Ok(None) };
        let context = named::find(&reference.familiar(), platform, self.request);
        match context.map_err(|reason| fail(place, reason))? {
            Some(context) => self.stage_of_context(&context, place),
            None => Ok(None),
        }
    }

    fn stage_of_context(&self, context: &NamedContext, place: Place) -> Fallible<Option<usize>> {
        let Some(stage) = context.stage() else { return Ok(None) };
        let found = self.names.get(&stage.to_lowercase()).copied();
        found.map(Some).ok_or_else(|| {
            let message =
                format!("context {}: there is no stage {}", context.shown, rbuild_dockerfile::literal::quote(stage));
            Box::new(Diagnostic::error(Phase::Build, place, message).with_suggestion(nearest(
                stage,
                self.labels(),
                true,
            )))
        })
    }
}
