//! Policies that a client's session decides upon: each source is shown to it before it is used.

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use rbuild_buildkit_api::gateway::ResolveSourceMetaResponse;
use rbuild_buildkit_api::policy::PolicyAction;
use rbuild_buildkit_api::services::verifier::policy_verifier_client::PolicyVerifierClient;
use rbuild_buildkit_api::verifier::{CheckPolicyRequest, CheckPolicyResponseResult, DecisionResponse};
use rbuild_graph::{Graph, GraphError, pb};
use rbuild_session::{LOOKUP, Sessions};
use serde_json::json;

use crate::bridge::source;
use crate::build::Build;
use crate::fault::Fault;

/// How often the client may ask back, or change its mind, about one source.
const MAX_ROUNDS: usize = 10;
/// How many sources are asked about at once.
const MAX_QUESTIONS: usize = 32;
/// The largest answer.
const MAX_ANSWER: usize = 16 << 20;

/// The session that decides.
pub(crate) struct Judge {
    sessions: Sessions,
    session: String,
}

impl Judge {
    /// Returns who decides; nobody if the client names no session.
    pub(crate) fn new(sessions: &Sessions, session: &str) -> Option<Self> {
        (!session.is_empty()).then(|| Self { sessions: sessions.clone(), session: session.to_owned() })
    }

    /// Returns the graph with its sources as the client wants them.
    pub(crate) async fn graph(&self, build: &Build, graph: &Graph) -> Result<Graph, Fault> {
        // All at once: the client may make up its mind about one source when it sees another.
        let mut judged = Vec::new();
        for vertex in graph.vertices() {
            if let pb::Kind::Source(op) = vertex.kind() {
                judged.push(self.before_and_after(build, op.clone(), vertex.op.platform.clone()));
            }
        }
        let judged = stream::iter(judged).buffer_unordered(MAX_QUESTIONS).try_collect::<Vec<_>>();
        let verdicts: Vec<_> = judged.await?.into_iter().filter(|(before, after)| before != after).collect();
        let changed = graph.with_sources(|op| {
            let verdict = verdicts.iter().find(|(before, _)| before == op);
            Ok::<_, GraphError>(verdict.map(|(_, after)| after.clone()))
        });
        Ok(changed?)
    }

    /// Returns a source, and what the client makes of it.
    fn before_and_after<'a>(
        &'a self,
        build: &'a Build,
        op: pb::SourceOp,
        platform: Option<pb::Platform>,
    ) -> BoxFuture<'a, Result<(pb::SourceOp, pb::SourceOp), Fault>> {
        let before = op.clone();
        let judged = self.source(build, op, platform);
        async move { Ok((before, judged.await.map_err(|fault| fault.context("failed to load LLB"))?)) }.boxed()
    }

    /// Returns what the client makes of a source.
    pub(crate) fn source<'a>(
        &'a self,
        build: &'a Build,
        op: pb::SourceOp,
        platform: Option<pb::Platform>,
    ) -> BoxFuture<'a, Result<pb::SourceOp, Fault>> {
        self.decide(build, op, platform).boxed()
    }

    async fn decide(
        &self,
        build: &Build,
        mut op: pb::SourceOp,
        platform: Option<pb::Platform>,
    ) -> Result<pb::SourceOp, Fault> {
        let session = self.sessions.get(&self.session, LOOKUP).await.map_err(|error| Fault::of(&error))?;
        let mut client = PolicyVerifierClient::new(session.channel()).max_decoding_message_size(MAX_ANSWER);
        let mut known = ResolveSourceMetaResponse::default();
        for _ in 0..MAX_ROUNDS {
            known.source = Some(op.clone());
            let request = CheckPolicyRequest { platform: platform.clone(), source: Some(known), ..Default::default() };
            let answer = client.check_policy(request).await;
            let answer = answer.map_err(|status| Fault::new(status.message().to_owned()))?.into_inner();
            match answer.result {
                Some(CheckPolicyResponseResult::Request(wanted)) => {
                    if wanted.source.as_ref() != Some(&op) {
                        return Err(Fault::new("policy requested another source than it was asked about"));
                    }
                    let described = source::described(build, wanted).await;
                    let failed = |fault: Fault| fault.context("error resolving source metadata from policy request");
                    known = described.map_err(failed)?;
                }
                Some(CheckPolicyResponseResult::Decision(decision)) => match verdict(&op, &decision)? {
                    None => return Ok(op),
                    Some(changed) => {
                        op = changed;
                        known = ResolveSourceMetaResponse::default();
                    }
                },
                None => return Err(Fault::new("no decision in policy response")),
            }
        }
        Err(Fault::new("too many policy requests"))
    }
}

/// Returns what a decision makes of a source; none if it may be used.
fn verdict(op: &pb::SourceOp, decision: &DecisionResponse) -> Result<Option<pb::SourceOp>, Fault> {
    match PolicyAction::try_from(decision.action) {
        Ok(PolicyAction::Allow) => Ok(None),
        Ok(PolicyAction::Convert) => {
            let missing = || Fault::new("convert action requires updated source");
            decision.update.clone().ok_or_else(missing).map(Some)
        }
        Ok(PolicyAction::Deny) | Err(_) => {
            let fault = Fault::new(format!("source {:?} not allowed by policy: action DENY", op.identifier));
            let messages: Vec<_> =
                decision.deny_messages.iter().map(|told| json!({ "message": told.message })).collect();
            if messages.is_empty() {
                return Err(fault);
            }
            let deny = PolicyAction::Deny as i32;
            Err(fault.with("policysession.DecisionResponse", &json!({ "action": deny, "denyMessages": messages })))
        }
    }
}
