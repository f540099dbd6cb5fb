//! Asks policies about sources.

use super::selector::Prepared;
use super::{Action, Condition, MatchType, Policy, PolicyError, Rule, Update};
use crate::source::canonical;
use crate::{Graph, pb};

/// How often one source may be converted.
const MOST_MUTATIONS: usize = 20;
/// How many rules all policies may have.
const MOST_RULES: usize = 20_000;
/// How many of them may have regular expressions.
const MOST_EXPRESSIONS: usize = 256;
/// How long texts may be: what a template makes of an identifier is the product of the two at most.
const LONGEST: usize = 8 << 10;
/// How many attributes a rule may set or compare.
const MOST_ATTRIBUTES: usize = 1000;
/// How many tests may be made for all sources together.
const MOST_STEPS: u64 = 50_000_000;

/// Policies ready to be asked.
#[derive(Debug)]
pub struct Engine {
    policies: Vec<Vec<(Action, Prepared)>>,
    steps: u64,
}

impl Engine {
    /// Prepares policies.
    ///
    /// # Errors
    /// If a rule is malformed, or there is more of something than can be asked.
    pub fn new(policies: &[Policy]) -> Result<Self, PolicyError> {
        let rules = || policies.iter().flat_map(|policy| &policy.rules);
        if rules().count() > MOST_RULES {
            return Err(PolicyError::Rules(MOST_RULES));
        }
        rules().try_for_each(check)?;
        if rules().map(expressions).sum::<usize>() > MOST_EXPRESSIONS {
            return Err(PolicyError::Expressions(MOST_EXPRESSIONS));
        }
        let rule = |rule: &Rule| Ok::<_, PolicyError>((rule.action.clone(), Prepared::new(&rule.selector)?));
        let policies = policies.iter().map(|policy| policy.rules.iter().map(rule).collect());
        Ok(Self { policies: policies.collect::<Result<_, _>>()?, steps: MOST_STEPS })
    }

    /// Returns what is used in the place of a source; none if it is used itself.
    ///
    /// # Errors
    /// If the source is denied.
    pub fn evaluate(&mut self, source: &pb::SourceOp) -> Result<Option<pb::SourceOp>, PolicyError> {
        let mut now = source.clone();
        now.identifier = canonical(&source.identifier);
        for mutations in 0..=MOST_MUTATIONS {
            if !self.round(&mut now)? {
                return Ok((mutations > 0).then_some(now));
            }
        }
        Err(PolicyError::Loop)
    }

    /// Returns the graph with its sources as the policies want them; those that depend on a changed one have other
    /// digests than before.
    ///
    /// # Errors
    /// If a source is denied.
    pub fn apply(&mut self, graph: &Graph) -> Result<Graph, PolicyError> {
        if self.policies.iter().all(Vec::is_empty) {
            return Ok(graph.clone());
        }
        graph.with_sources(|source| self.evaluate(source))
    }

    /// Asks all policies once; returns whether the source was changed.
    fn round(&mut self, source: &mut pb::SourceOp) -> Result<bool, PolicyError> {
        if source.identifier.len() > LONGEST {
            return Err(PolicyError::Length { what: "the identifier of a source", limit: LONGEST });
        }
        for policy in &self.policies {
            let mut denied = false;
            for (action, selector) in policy {
                self.steps = self.steps.checked_sub(selector.steps()).ok_or(PolicyError::Steps(MOST_STEPS))?;
                if !selector.matches(&source.identifier, &source.attrs) {
                    continue;
                }
                match action {
                    Action::Allow => denied = false,
                    Action::Deny => denied = true,
                    Action::Convert(update) if convert(source, update, selector) => return Ok(true),
                    Action::Convert(_) => {}
                }
            }
            if denied {
                return Err(PolicyError::Denied(source.identifier.clone()));
            }
        }
        Ok(false)
    }
}

/// Changes a source; returns whether it is another one now.
fn convert(source: &mut pb::SourceOp, update: &Update, selector: &Prepared) -> bool {
    let identifier = selector.format(&source.identifier, &update.identifier);
    let mut changed = false;
    if !identifier.is_empty() && identifier != source.identifier {
        source.identifier = identifier;
        changed = true;
    }
    for (key, value) in &update.attrs {
        if source.attrs.get(key).map(String::as_str).unwrap_or_default() != value {
            source.attrs.insert(key.clone(), value.clone());
            changed = true;
        }
    }
    changed
}

fn check(rule: &Rule) -> Result<(), PolicyError> {
    let short = |what: &'static str, text: &str| match text.len() {
        0..=LONGEST => Ok(()),
        _ => Err(PolicyError::Length { what, limit: LONGEST }),
    };
    short("the identifier of a selector", &rule.selector.identifier)?;
    rule.selector.constraints.iter().try_for_each(|constraint| short("a constraint", &constraint.value))?;
    let mut attributes = rule.selector.constraints.len();
    if let Action::Convert(update) = &rule.action {
        short("the identifier of an update", &update.identifier)?;
        attributes += update.attrs.len();
    }
    if attributes > MOST_ATTRIBUTES {
        return Err(PolicyError::Length { what: "the list of attributes of a rule", limit: MOST_ATTRIBUTES });
    }
    Ok(())
}

fn expressions(rule: &Rule) -> usize {
    let constraints = rule.selector.constraints.iter();
    let regex = usize::from(rule.selector.match_type == MatchType::Regex);
    regex + constraints.filter(|constraint| constraint.condition == Condition::Matches).count()
}
