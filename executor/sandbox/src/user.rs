//! Users and groups as the root's passwd and group files tell; pure.

/// Who a process is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Largest id that images may use, as docker has it.
const MAX_ID: u32 = i32::MAX as u32;

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Finds who `user` (`name`, `uid`, either with `:group`) is; digits are always ids.
pub(crate) fn resolve(user: &str, extra: &[String], passwd: &str, group: &str) -> Result<Identity, String> {
    let (name, group_name) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let number = id(name)?;
    let entry = users(passwd).find(|entry| match number {
        Some(uid) => entry.uid == uid,
        None if name.is_empty() => entry.uid == 0,
        None => entry.name == name,
    });
    let uid = match (&entry, number) {
        (_, Some(uid)) => uid,
        (_, None) if name.is_empty() => 0,
        (Some(entry), None) => entry.uid,
        (None, None) => return Err(format!("unable to find user {name}: no matching entries in passwd file")),
    };
    let (gid, mut member_of) = match group_name {
        Some(name) => (find_group(name, group)?, Vec::new()),
        None => {
            let groups = entry.as_ref().map(|entry| memberships(entry.name, group)).unwrap_or_default();
            // The user nobody named is 0:0, whatever the files say of its group.
            let own = entry.as_ref().filter(|_| !name.is_empty()).map_or(0, |entry| entry.gid);
            (own, groups)
        }
    };
    for name in extra {
        member_of.push(find_group(name, group)?);
    }
    let mut groups = Vec::with_capacity(member_of.len());
    for found in member_of {
        if found != gid && !groups.contains(&found) {
            groups.push(found);
        }
    }
    let home = entry.map(|entry| entry.home).filter(|home| home.starts_with('/')).unwrap_or("/");
    Ok(Identity { uid, gid, groups, home: home.to_owned() })
}

/// Returns the id if `text` is digits only; too large ones are an error, not a name.
fn id(text: &str) -> Result<Option<u32>, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= MAX_ID => Ok(Some(id)),
        _ => Err(format!("uids and gids must be in range 0-{MAX_ID}, but there is {text}")),
    }
}

fn find_group(name: &str, text: &str) -> Result<u32, String> {
    if let Some(gid) = id(name)? {
        return Ok(gid);
    }
    let found = groups(text).find(|group| group.name == name);
    found
        .map(|group| group.gid)
        .ok_or_else(|| format!("unable to find group {name}: no matching entries in group file"))
}

fn memberships(user: &str, text: &str) -> Vec<u32> {
    let member = |group: &Group<'_>| group.members.split(',').any(|member| member.trim() == user);
    groups(text).filter(member).map(|group| group.gid).collect()
}

fn users(text: &str) -> impl Iterator<Item = User<'_>> {
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let [name, _, uid, gid, ..] = fields[..] else { return None };
        let home = fields.get(5).copied().unwrap_or("");
        Some(User { name, uid: id(uid).ok()??, gid: id(gid).ok()??, home }).filter(|user| !user.name.is_empty())
    })
}

fn groups(text: &str) -> impl Iterator<Item = Group<'_>> {
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let [name, _, gid, ..] = fields[..] else { return None };
        let members = fields.get(3).copied().unwrap_or("");
        Some(Group { name, gid: id(gid).ok()??, members }).filter(|group| !group.name.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
# comment
daemon:*:1:2:daemon:/usr/sbin:/bin/false
adm:x:1000:1001::/home/adm:
broken
evil:x:99999999999:0::/:
1234:x:77:78::/seven:
nohome:x:5:6
";
    const GROUP: &str = "\
root:x:0:
bin:x:3:root,daemon
wheel:x:10: root ,adm
adm:x:1001:adm
big:x:4294967296:adm
500:x:501:adm
";

    fn check(user: &str, expect: &str) {
        let shown = match resolve(user, &[], PASSWD, GROUP) {
            Ok(it) => format!("{}:{} {:?} {}", it.uid, it.gid, it.groups, it.home),
            Err(message) => message,
        };
        assert_eq!(shown, expect, "user `{user}`");
    }

    // items: R003
    #[test]
    fn users_of_all_kinds() {
        check("", "0:0 [3, 10] /root");
        check("root", "0:0 [3, 10] /root");
        check("0", "0:0 [3, 10] /root");
        check("daemon", "1:2 [3] /usr/sbin");
        check("adm", "1000:1001 [10, 501] /home/adm");
        check("1000", "1000:1001 [10, 501] /home/adm");
        check("1000:1000", "1000:1000 [] /home/adm");
        check("adm:wheel", "1000:10 [] /home/adm");
        check("4242", "4242:0 [] /");
        check("4242:bin", "4242:3 [] /");
        check(":bin", "0:3 [] /root");
        check("adm:", "1000:1001 [10, 501] /home/adm");
        check("nohome", "5:6 [] /");
        // Digits are ids even where a user is called so.
        check("1234", "1234:0 [] /");
        check("1:500", "1:500 [] /usr/sbin");
    }

    #[test]
    fn what_is_refused() {
        check("nobody", "unable to find user nobody: no matching entries in passwd file");
        check("evil", "unable to find user evil: no matching entries in passwd file");
        check("root:nogroup", "unable to find group nogroup: no matching entries in group file");
        let range = "uids and gids must be in range 0-2147483647, but there is";
        check("2147483648", &format!("{range} 2147483648"));
        check("4294967295", &format!("{range} 4294967295"));
        check("18446744073709551616", &format!("{range} 18446744073709551616"));
        check("0:4294967296", &format!("{range} 4294967296"));
        check("-1", "unable to find user -1: no matching entries in passwd file");
    }

    // items: R003
    #[test]
    fn further_groups_are_added_once() {
        let extra = ["wheel", "3", "1001", "3"].map(str::to_owned);
        let found = resolve("adm", &extra, PASSWD, GROUP).unwrap();
        assert_eq!((found.gid, found.groups), (1001, vec![10, 501, 3]));
        assert!(resolve("adm", &["none".to_owned()], PASSWD, GROUP).is_err());
        assert_eq!(
            resolve("7", &[], "", "").unwrap(),
            Identity { uid: 7, home: "/".to_owned(), ..Identity::default() }
        );
    }
}
