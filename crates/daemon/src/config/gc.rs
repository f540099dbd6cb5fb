//! What is given up when: the rules of an administrator, or BuildKit's.

use std::time::Duration;

use super::Space;

/// What an administrator says about giving up cache.
#[derive(Debug, Clone, PartialEq)]
pub struct Gc {
    /// Whether anything is given up by itself.
    pub enabled: bool,
    /// The space that is never given up.
    pub reserved: Option<Space>,
    /// The space above which something is given up.
    pub max_used: Option<Space>,
    /// The space of the disk that shall be free.
    pub min_free: Option<Space>,
    /// Rules, carried out one after another; empty for the usual ones.
    pub policies: Vec<GcPolicy>,
}

impl Default for Gc {
    fn default() -> Self {
        Self { enabled: true, reserved: None, max_used: None, min_free: None, policies: Vec::new() }
    }
}

/// A rule.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GcPolicy {
    /// Also what the builder needs for itself, and what images share.
    pub all: bool,
    /// Only what fulfils one of these.
    pub filters: Vec<String>,
    /// Only what was not used for so long.
    pub keep_duration: Duration,
    /// The space that is never given up.
    pub reserved: Option<Space>,
    /// The space above which something is given up.
    pub max_used: Option<Space>,
    /// The space of the disk that shall be free.
    pub min_free: Option<Space>,
}

const GIGABYTE: u64 = 1_000_000_000;

impl Gc {
    /// Returns the rules on a disk of `total` bytes; none if nothing is given up by itself.
    pub fn rules(&self, total: u64) -> Vec<GcPolicy> {
        if !self.enabled {
            return Vec::new();
        }
        if !self.policies.is_empty() {
            return self.policies.clone();
        }
        let unset = self.reserved.is_none() && self.max_used.is_none() && self.min_free.is_none();
        let limits = if unset { usual_limits(total) } else { self.clone() };
        let rule = |all, keep_duration| GcPolicy {
            all,
            keep_duration,
            filters: Vec::new(),
            reserved: limits.reserved,
            max_used: limits.max_used,
            min_free: limits.min_free,
        };
        let day = Duration::from_secs(24 * 3600);
        vec![
            // What is made again most easily, if it takes much and was not used for two days.
            GcPolicy {
                filters: ["source.local", "exec.cachemount", "source.git.checkout"]
                    .map(|kind| format!("type=={kind}"))
                    .into(),
                keep_duration: 2 * day,
                max_used: Some(Space::Bytes(512_000_000)),
                ..GcPolicy::default()
            },
            // What was not used for two months.
            rule(false, 60 * day),
            // Enough to come below the limits; and if that is not enough, what nobody gives up lightly.
            rule(false, Duration::ZERO),
            rule(true, Duration::ZERO),
        ]
    }
}

fn usual_limits(total: u64) -> Gc {
    let capped = |percent, most| match Space::Percent(percent) {
        space if space.bytes(total) > most => Space::Bytes(most),
        space => space,
    };
    Gc {
        reserved: Some(capped(10, 10 * GIGABYTE)),
        max_used: Some(capped(80, 100 * GIGABYTE)),
        min_free: Some(Space::Percent(20)),
        ..Gc::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_rules_are_those_of_buildkit() {
        let rules = Gc::default().rules(1 << 40);
        assert_eq!(rules.len(), 4);
        assert_eq!(rules[0].filters[1], "type==exec.cachemount");
        assert_eq!(rules[1].keep_duration, Duration::from_secs(60 * 24 * 3600));
        assert_eq!((rules[2].all, rules[3].all), (false, true));
        assert_eq!(rules[3].reserved, Some(Space::Bytes(10 * GIGABYTE)));
        assert_eq!(rules[3].max_used, Some(Space::Bytes(100 * GIGABYTE)));
        assert_eq!(Gc::default().rules(20 << 30)[3].max_used, Some(Space::Percent(80)));
    }

    #[test]
    fn limits_and_rules_of_the_administrator_come_first() {
        let limits = Gc { max_used: Some(Space::Bytes(7)), ..Gc::default() };
        let rules = limits.rules(1 << 40);
        assert_eq!((rules[2].max_used, rules[2].reserved), (Some(Space::Bytes(7)), None));
        let own = vec![GcPolicy { all: true, ..GcPolicy::default() }];
        assert_eq!(Gc { policies: own.clone(), ..Gc::default() }.rules(0), own);
        assert!(Gc { enabled: false, ..Gc::default() }.rules(0).is_empty());
    }
}
