//! Names of our groups, which tell whose they are.
//!
//! `<pid namespace>-<pid>-<start time>-<number>`: a group whose engine is gone can be told from one in use,
//! also after its pid was given to another process. Groups of other pid namespaces are left alone.

use std::fs;
use std::io;

/// Who made a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    namespace: u64,
    pid: u32,
    started: u64,
}

impl Owner {
    /// Returns this process.
    pub(crate) fn this_process() -> io::Result<Owner> {
        use std::os::unix::fs::MetadataExt;
        let namespace = fs::metadata("/proc/self/ns/pid")?.ino();
        let stat = fs::read_to_string("/proc/self/stat")?;
        // The number in our own `/proc` is the one others will look for, whatever getpid says.
        let pid = stat.split(' ').next().and_then(|pid| pid.parse().ok());
        let found = pid.zip(start_time(&stat)).map(|(pid, started)| Owner { namespace, pid, started });
        found.ok_or_else(|| io::Error::other("/proc/self/stat is not as expected"))
    }

    /// Returns the name of group `number` of this owner.
    pub(crate) fn name(&self, number: u64) -> String {
        format!("{}-{}-{}-{number}", self.namespace, self.pid, self.started)
    }

    fn parse(name: &str) -> Option<Owner> {
        let mut fields = name.split('-').map(|field| field.parse::<u64>().ok());
        let (namespace, pid, started) = (fields.next()??, fields.next()??, fields.next()??);
        let number = fields.next()?;
        (number.is_some() && fields.next().is_none()).then_some(Owner {
            namespace,
            pid: u32::try_from(pid).ok()?,
            started,
        })
    }

    /// Tells whether the group `name` is one of ours whose engine is gone, as seen by `self`.
    pub(crate) fn is_stale(&self, name: &str) -> bool {
        let Some(owner) = Owner::parse(name).filter(|owner| owner.namespace == self.namespace) else {
            return false;
        };
        match fs::read_to_string(format!("/proc/{}/stat", owner.pid)) {
            Ok(stat) => start_time(&stat).is_some_and(|started| started != owner.started),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

/// Returns the 22nd field; the second may hold blanks and parentheses.
fn start_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_living_from_the_dead() {
        let me = Owner::this_process().unwrap();
        assert_eq!(Owner::parse(&me.name(3)), Some(me.clone()));
        assert!(!me.is_stale(&me.name(1)));
        assert!(me.is_stale(&Owner { started: me.started + 1, ..me.clone() }.name(1)), "the pid was reused");
        assert!(me.is_stale(&Owner { pid: 4_194_305, ..me.clone() }.name(1)), "no such process");
        assert!(!me.is_stale(&Owner { namespace: 1, ..me.clone() }.name(1)), "not visible from here");
        for foreign in ["", "docker", "1-2", "1-2-3", "1-2-3-4-5", "1-2-3-x", "a-b-c-d"] {
            assert!(!me.is_stale(foreign), "{foreign}");
        }
    }
}
