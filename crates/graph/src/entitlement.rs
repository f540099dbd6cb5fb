//! Privileges that steps ask for, which must be granted.

use crate::{Graph, GraphError, pb};

/// Privileges that were granted to a build. Devices are granted one by one, where steps are resolved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entitlements {
    /// Steps may use the host's network.
    pub network_host: bool,
    /// Steps may run without confinement.
    pub security_insecure: bool,
}

impl Graph {
    /// Checks that no step asks for a privilege that was not granted.
    ///
    /// # Errors
    /// Names the privilege.
    pub fn check_entitlements(&self, granted: Entitlements) -> Result<(), GraphError> {
        for vertex in self.vertices() {
            let pb::Kind::Exec(exec) = vertex.kind() else { continue };
            if exec.network() == pb::NetMode::Host && !granted.network_host {
                return Err(GraphError::Entitlement("network.host"));
            }
            if exec.security() == pb::SecurityMode::Insecure && !granted.security_insecure {
                return Err(GraphError::Entitlement("security.insecure"));
            }
        }
        Ok(())
    }
}
