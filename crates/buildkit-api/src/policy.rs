//! Policies about sources.
#![allow(missing_docs, reason = "the names are the protocol's own")]

use std::collections::BTreeMap;

use rbuild_graph::policy;

#[derive(Clone, PartialEq, prost::Message)]
pub struct Rule {
    #[prost(enumeration = "PolicyAction", tag = "1")]
    pub action: i32,
    #[prost(message, optional, tag = "2")]
    pub selector: Option<Selector>,
    #[prost(message, optional, tag = "3")]
    pub updates: Option<Update>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Update {
    #[prost(string, tag = "1")]
    pub identifier: String,
    #[prost(btree_map = "string, string", tag = "2")]
    pub attrs: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Selector {
    #[prost(string, tag = "1")]
    pub identifier: String,
    #[prost(enumeration = "MatchType", tag = "2")]
    pub match_type: i32,
    #[prost(message, repeated, tag = "3")]
    pub constraints: Vec<AttrConstraint>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum PolicyAction {
    Allow = 0,
    Deny = 1,
    Convert = 2,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AttrConstraint {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
    #[prost(enumeration = "AttrMatch", tag = "3")]
    pub condition: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum AttrMatch {
    Equal = 0,
    Notequal = 1,
    Matches = 2,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Policy {
    #[prost(int64, tag = "1")]
    pub version: i64,
    #[prost(message, repeated, tag = "2")]
    pub rules: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum MatchType {
    Wildcard = 0,
    Exact = 1,
    Regex = 2,
}

impl TryFrom<&Policy> for policy::Policy {
    type Error = policy::PolicyError;

    fn try_from(message: &Policy) -> Result<Self, Self::Error> {
        Ok(Self { rules: message.rules.iter().map(policy::Rule::try_from).collect::<Result<_, _>>()? })
    }
}

impl TryFrom<&Rule> for policy::Rule {
    type Error = policy::PolicyError;

    fn try_from(message: &Rule) -> Result<Self, Self::Error> {
        let selector = message.selector.as_ref().ok_or_else(|| malformed("invalid nil selector in policy"))?;
        let action = match PolicyAction::try_from(message.action) {
            Ok(PolicyAction::Allow) => policy::Action::Allow,
            Ok(PolicyAction::Deny) => policy::Action::Deny,
            Ok(PolicyAction::Convert) => {
                let update =
                    message.updates.as_ref().ok_or_else(|| malformed("missing destination for convert rule"))?;
                let (identifier, attrs) = (update.identifier.clone(), update.attrs.clone());
                policy::Action::Convert(policy::Update { identifier, attrs })
            }
            Err(_) => return Err(unknown("type of action", message.action)),
        };
        Ok(Self { action, selector: selector.try_into()? })
    }
}

impl TryFrom<&Selector> for policy::Selector {
    type Error = policy::PolicyError;

    fn try_from(message: &Selector) -> Result<Self, Self::Error> {
        let match_type = match MatchType::try_from(message.match_type) {
            Ok(MatchType::Wildcard) => policy::MatchType::Wildcard,
            Ok(MatchType::Exact) => policy::MatchType::Exact,
            Ok(MatchType::Regex) => policy::MatchType::Regex,
            Err(_) => return Err(unknown("match type", message.match_type)),
        };
        let constraints = message.constraints.iter().map(constraint).collect::<Result<_, _>>()?;
        Ok(Self { identifier: message.identifier.clone(), match_type, constraints })
    }
}

fn constraint(message: &AttrConstraint) -> Result<policy::Constraint, policy::PolicyError> {
    let condition = match AttrMatch::try_from(message.condition) {
        Ok(AttrMatch::Equal) => policy::Condition::Equal,
        Ok(AttrMatch::Notequal) => policy::Condition::NotEqual,
        Ok(AttrMatch::Matches) => policy::Condition::Matches,
        Err(_) => return Err(unknown("attr condition", message.condition)),
    };
    Ok(policy::Constraint { key: message.key.clone(), value: message.value.clone(), condition })
}

fn malformed(what: &str) -> policy::PolicyError {
    policy::PolicyError::Rule(what.to_owned())
}

fn unknown(what: &str, number: i32) -> policy::PolicyError {
    policy::PolicyError::Rule(format!("unknown {what}: {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x90_rules_are_read_with_care() {
        let check = |change: fn(&mut Rule), expect: &str| {
            let selector = Selector { identifier: "*".to_owned(), match_type: 0, constraints: Vec::new() };
            let mut rule = Rule { action: PolicyAction::Deny as i32, selector: Some(selector), updates: None };
            change(&mut rule);
            let read = policy::Policy::try_from(&Policy { version: 1, rules: vec![rule] });
            assert_eq!(read.err().map(|error| error.to_string()).unwrap_or_default(), expect);
        };
        check(|_| {}, "");
        check(|rule| rule.selector = None, "source policy: invalid nil selector in policy");
        check(|rule| rule.action = 2, "source policy: missing destination for convert rule");
        check(|rule| rule.action = 9, "source policy: unknown type of action: 9");
        check(|rule| rule.selector.as_mut().unwrap().match_type = -1, "source policy: unknown match type: -1");
        let odd = |rule: &mut Rule| {
            let constraint = AttrConstraint { key: String::new(), value: String::new(), condition: 7 };
            rule.selector.as_mut().unwrap().constraints.push(constraint);
        };
        check(odd, "source policy: unknown attr condition: 7");
    }
}
