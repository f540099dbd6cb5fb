//! Id maps as values: `/etc/subuid`, `/proc/PID/uid_map`, and the arithmetic between them.
//!
//! Pure; malformed lines are skipped, since the files are shared with every other program that
//! uses them and newuidmap checks each range again.

/// A run of ids: `count` ids from `inside` on are those from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// First id in the namespace.
    pub inside: u32,
    /// First id in the parent namespace.
    pub outside: u32,
    /// How many ids.
    pub count: u32,
}

/// Which ids of the parent namespace appear as which here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMap(Vec<IdRange>);

/// The maps of a user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    /// User ids.
    pub uids: IdMap,
    /// Group ids.
    pub gids: IdMap,
}

/// The kernel takes this many ranges in one map (five before 4.15).
const MOST_RANGES: usize = 340;

impl IdMap {
    /// Returns the map in which `outside` alone exists, as 0.
    pub fn single(outside: u32) -> IdMap {
        IdMap(vec![IdRange { inside: 0, outside, count: 1 }])
    }

    /// Returns the map with `own` as 0 and the ids of `ranges` (start, count) from 1 on.
    ///
    /// Ranges that overlap an earlier one or hold `own` are left out: the kernel would refuse the
    /// whole map.
    pub fn with_ranges(own: u32, ranges: &[(u32, u32)]) -> IdMap {
        let mut map = IdMap::single(own);
        let mut next = 1_u32;
        for &(start, count) in ranges {
            let overlaps = map.0.iter().any(|range| {
                let (theirs, ours) = (u64::from(range.outside), u64::from(start));
                ours < theirs + u64::from(range.count) && theirs < ours + u64::from(count)
            });
            let Some(after) = next.checked_add(count) else { break };
            if overlaps || map.0.len() == MOST_RANGES {
                continue;
            }
            map.0.push(IdRange { inside: next, outside: start, count });
            next = after;
        }
        map
    }

    /// Parses the text of `/proc/PID/uid_map` or `gid_map`.
    pub fn parse(text: &str) -> IdMap {
        let range = |line: &str| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
            let (inside, outside, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
            Some(IdRange { inside: inside.ok()?, outside: outside.ok()?, count: count.ok()? })
        };
        IdMap(text.lines().filter_map(range).collect())
    }

    /// Returns the ranges in order.
    pub fn ranges(&self) -> &[IdRange] {
        &self.0
    }

    /// Tells whether every id means the same inside and outside.
    pub fn is_identity(&self) -> bool {
        self.0 == [IdRange { inside: 0, outside: 0, count: u32::MAX }]
    }

    /// Returns how many ids exist inside.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|range| u64::from(range.count)).sum()
    }

    /// Returns what `inside` is called outside.
    pub fn to_outside(&self, inside: u32) -> Option<u32> {
        self.0.iter().find_map(|range| {
            let offset = inside.checked_sub(range.inside).filter(|offset| *offset < range.count)?;
            range.outside.checked_add(offset)
        })
    }

    /// Returns what `outside` is called inside.
    pub fn to_inside(&self, outside: u32) -> Option<u32> {
        self.0.iter().find_map(|range| {
            let offset = outside.checked_sub(range.outside).filter(|offset| *offset < range.count)?;
            range.inside.checked_add(offset)
        })
    }
}

/// Returns the ranges (start, count) that `text`, a `/etc/subuid` or `/etc/subgid`, gives to the
/// user `uid`, called `name`.
pub fn subid_ranges(text: &str, uid: u32, name: Option<&str>) -> Vec<(u32, u32)> {
    let id = uid.to_string();
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let (owner, start, count) = (fields.next()?, fields.next()?, fields.next()?);
        if fields.next().is_some() || (owner != id && name != Some(owner)) {
            return None;
        }
        let (start, count) = (decimal(start)?, decimal(count)?);
        // The id -1 means "no change" to the kernel and can never be mapped.
        let fits = count > 0 && start.checked_add(count).is_some();
        fits.then_some((start, count))
    };
    text.lines().filter_map(range).collect()
}

/// Parses digits only: `str::parse` would also take a sign.
fn decimal(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subid_lines() {
        let check = |text: &str, expect: &[(u32, u32)]| {
            assert_eq!(subid_ranges(text, 1000, Some("ann")), expect, "{text:?}");
        };
        check("", &[]);
        check("ann:100000:65536\n", &[(100000, 65536)]);
        check("1000:100000:65536", &[(100000, 65536)]);
        check("bob:1:2\nann:5:6\n1000:20:30\n", &[(5, 6), (20, 30)]);
        check("anna:5:6\n10000:5:6\n100:5:6\n", &[]);
        check("  ann:5:6  \n", &[(5, 6)]);
        check("# ann:5:6\nann\nann:\nann:5\nann:5:\nann::5\nann:5:6:7\n", &[]);
        check("ann:-5:6\nann:+5:6\nann:0x5:6\nann:5:six\nann:5:0\n", &[]);
        check("ann:4294967295:1\nann:4294967290:6\nann:99999999999:1\n", &[]);
        check("ann:4294967290:5\n", &[(4294967290, 5)]);
    }

    #[test]
    fn no_name_matches_only_the_number() {
        assert_eq!(subid_ranges(":1:2\nann:3:4\n1000:5:6", 1000, None), [(5, 6)]);
    }

    #[test]
    fn maps() {
        let check = |own, ranges: &[(u32, u32)], expect: &str| {
            assert_eq!(IdMap::with_ranges(own, ranges), IdMap::parse(expect), "{ranges:?}");
        };
        check(1000, &[], "0 1000 1");
        check(1000, &[(100000, 65536)], "0 1000 1\n1 100000 65536\n");
        check(1000, &[(10, 5), (100, 5)], "0 1000 1\n1 10 5\n6 100 5");
        check(1000, &[(10, 5), (14, 5), (100, 1)], "0 1000 1\n1 10 5\n6 100 1");
        check(1000, &[(900, 200), (5, 1)], "0 1000 1\n1 5 1");
    }

    #[test]
    fn translation() {
        let map = IdMap::with_ranges(1000, &[(100000, 65536)]);
        for (inside, outside) in [(0, 1000), (1, 100000), (65536, 165535)] {
            assert_eq!(map.to_outside(inside), Some(outside));
            assert_eq!(map.to_inside(outside), Some(inside));
        }
        assert_eq!(map.to_outside(65537), None);
        assert_eq!(map.to_inside(0), None);
        assert_eq!(map.count(), 65537);
        assert!(IdMap::parse("         0          0 4294967295\n").is_identity());
        assert!(!map.is_identity());
    }
}
