//! Which devices a build may have.

use rbuild_graph::pb;

use super::{DeviceError, Registry};

/// What `--allow device[=NAME[,alias=OTHER]]` granted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceGrants {
    all: bool,
    /// What steps ask for, and the device that it means.
    names: Vec<(String, Option<String>)>,
}

/// Why the text of a grant is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid device entitlement `{text}`: expected device, device=NAME or device=NAME,alias=NAME-IN-DOCKERFILE")]
pub struct GrantError {
    /// The text.
    pub text: String,
}

impl DeviceGrants {
    /// Returns the grant of all devices.
    pub fn all() -> Self {
        Self { all: true, names: Vec::new() }
    }

    /// Adds what follows `device` in an entitlement: nothing, or `=NAME[,alias=OTHER]`.
    ///
    /// # Errors
    /// If it is something else.
    pub fn add(&mut self, rest: &str) -> Result<(), GrantError> {
        let wrong = || GrantError { text: format!("device{rest}") };
        if rest.is_empty() {
            self.all = true;
            return Ok(());
        }
        let rest = rest.strip_prefix('=').ok_or_else(wrong)?;
        let (name, alias) = match rest.split_once(',') {
            None => (rest, None),
            Some((name, option)) => (name, Some(option.strip_prefix("alias=").ok_or_else(wrong)?)),
        };
        if name.is_empty() || alias.is_some_and(|alias| alias.is_empty() || alias.contains(',')) {
            return Err(wrong());
        }
        self.names.push(match alias {
            None => (name.to_owned(), None),
            Some(alias) => (alias.to_owned(), Some(name.to_owned())),
        });
        Ok(())
    }

    /// Returns the devices that a step gets: what it asks for, looked up.
    ///
    /// # Errors
    /// If a device is required and not there, or not granted.
    pub(crate) fn resolve(
        &self,
        asked: &[pb::CdiDevice],
        registry: &Registry,
    ) -> Result<Vec<pb::CdiDevice>, DeviceError> {
        let mut granted = Vec::new();
        for name in &self.names {
            let device = pb::CdiDevice { name: name.1.as_ref().unwrap_or(&name.0).clone(), optional: true };
            granted.extend(registry.find(&device)?);
        }
        let mut found: Vec<String> = Vec::new();
        for wanted in asked {
            let alias = self.names.iter().find(|(alias, device)| *alias == wanted.name && device.is_some());
            let name = alias.and_then(|(_, device)| device.clone()).unwrap_or_else(|| wanted.name.clone());
            for name in registry.find(&pb::CdiDevice { name, optional: wanted.optional })? {
                let free = registry.get(&name).is_some_and(super::registry::Device::allows_all);
                if !self.all && !free && !granted.contains(&name) {
                    return Err(DeviceError::Forbidden(name));
                }
                if !found.contains(&name) {
                    found.push(name);
                }
            }
        }
        Ok(found.into_iter().map(|name| pb::CdiDevice { name, optional: false }).collect())
    }
}
