//! What the client gives to a step: secrets and agents, asked for before anything is prepared.

use std::collections::BTreeMap;
use std::sync::Arc;

use rbuild_graph::pb;
use rbuild_oci::Digest;

use crate::OpsError;
use crate::session::{Agent, Session};

/// The agent that is meant if none is named.
const DEFAULT_AGENT: &str = "default";

/// Who is asked for a step.
struct OfStep<'a> {
    session: &'a dyn Session,
    vertex: &'a Digest,
}

/// Secrets and agents of the client; those that it does not have are known as missing.
#[derive(Default)]
pub(crate) struct Given {
    secrets: BTreeMap<String, Option<Vec<u8>>>,
    agents: BTreeMap<String, Option<Arc<dyn Agent>>>,
}

impl Given {
    /// Asks for all that a step mentions.
    pub(crate) async fn ask(session: &dyn Session, vertex: &Digest, op: &pb::ExecOp) -> Result<Self, OpsError> {
        let mut given = Self::default();
        let session = &OfStep { session, vertex };
        for mount in &op.mounts {
            match mount.mount_type() {
                pb::MountType::Secret => given.secret(session, secret_id(mount)).await?,
                pb::MountType::Ssh => given.agent(session, agent_id(mount)).await?,
                _ => {}
            }
        }
        for secret in &op.secretenv {
            given.secret(session, &secret.id).await?;
        }
        Ok(given)
    }

    async fn secret(&mut self, of: &OfStep<'_>, id: &str) -> Result<(), OpsError> {
        if !self.secrets.contains_key(id) {
            let failed = |source| OpsError::Secret { id: id.to_owned(), source };
            let secret = of.session.secret_of_step(of.vertex, id).await;
            self.secrets.insert(id.to_owned(), secret.map_err(failed)?);
        }
        Ok(())
    }

    async fn agent(&mut self, of: &OfStep<'_>, id: &str) -> Result<(), OpsError> {
        if !self.agents.contains_key(id) {
            let failed = |source| OpsError::Agent { id: id.to_owned(), source };
            let agent = of.session.agent_of_step(of.vertex, id).await;
            self.agents.insert(id.to_owned(), agent.map_err(failed)?);
        }
        Ok(())
    }

    /// Returns a secret, or none if it may be missing and is.
    pub(crate) fn secret_of(&self, id: &str, optional: bool) -> Result<Option<&[u8]>, OpsError> {
        match self.secrets.get(id).and_then(Option::as_deref) {
            None if !optional => Err(OpsError::NoSecret(id.to_owned())),
            content => Ok(content),
        }
    }

    /// Returns the agent of a mount, or none if it may be missing and is.
    pub(crate) fn agent_of(&self, mount: &pb::Mount) -> Result<Option<&Arc<dyn Agent>>, OpsError> {
        let id = agent_id(mount);
        let optional = mount.ssh_opt.as_ref().is_some_and(|options| options.optional);
        match self.agents.get(id).and_then(Option::as_ref) {
            None if !optional => Err(OpsError::NoAgent(id.to_owned())),
            agent => Ok(agent),
        }
    }
}

fn secret_id(mount: &pb::Mount) -> &str {
    mount.secret_opt.as_ref().map_or("", |options| options.id.as_str())
}

fn agent_id(mount: &pb::Mount) -> &str {
    let named = mount.ssh_opt.as_ref().map(|options| options.id.as_str());
    named.filter(|id| !id.is_empty()).unwrap_or(DEFAULT_AGENT)
}
