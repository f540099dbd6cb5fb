//! Which devices a build may have.

use rbuild_graph::pb;

use super::{DeviceError, Registry};

/// What `--allow device[=NAME[,alias=OTHER]]` granted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceGrants {
    all: bool,
    /// What steps ask for, and the device that it means.
    names: Vec<(String, String)>,
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
        let (device, asked) = match rest.split_once(',') {
            None => (rest, rest),
            Some((device, option)) => (device, option.strip_prefix("alias=").ok_or_else(wrong)?),
        };
        if device.is_empty() || asked.is_empty() || asked.contains(',') {
            return Err(wrong());
        }
        self.names.push((asked.to_owned(), device.to_owned()));
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
        for (_, device) in &self.names {
            granted.extend(registry.find(&pb::CdiDevice { name: device.clone(), optional: true })?);
        }
        let mut found: Vec<String> = Vec::new();
        for wanted in asked {
            let meant = self.names.iter().find(|(asked, _)| *asked == wanted.name);
            let name = meant.map_or_else(|| wanted.name.clone(), |(_, device)| device.clone());
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
