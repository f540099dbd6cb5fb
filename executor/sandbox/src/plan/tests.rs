//! Plans as text, one file per case in `testdata/plan`; `UPDATE_GOLDEN=1` rewrites them.

use std::path::PathBuf;

use super::*;
use crate::caps::CapSet;
use crate::facts::GroupFacts;
use crate::spec::{BindSource, Device, Handle, Limits, Pids, Rlimit, Security, Sensitive, Upper};

fn facts() -> HostFacts {
    HostFacts {
        rootless: false,
        setgroups: true,
        tty_group: Some(5),
        lowers_one_by_one: true,
        own_handlers: true,
        capabilities: CapSet::ALL,
        seccomp: true,
        apparmor: false,
        group: GroupFacts {
            directories: vec![("memory".to_owned(), "/cg/memory/x".into()), ("pids".to_owned(), "/cg/pids/x".into())],
            controls_devices: true,
        },
        devices: Vec::new(),
    }
}

fn spec() -> SandboxSpec {
    let upper = Upper { upper: "/store/1/fs".into(), work: "/store/1/work".into(), volatile: false };
    let lowers = vec!["/store/3/fs".into(), "/store/2/fs".into()];
    let root = RootSpec::Overlay { lowers, upper: Some(upper), userxattr: false };
    SandboxSpec::new(root, ["/bin/sh", "-c", "true"].map(str::to_owned).to_vec())
}

fn check(case: &str, spec: &SandboxSpec, facts: &HostFacts) {
    check_plan(case, plan(spec, facts).unwrap());
}

#[allow(clippy::disallowed_methods)]
fn check_plan(case: &str, plan: Plan) {
    // What the init reads is what was planned.
    let wire = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&wire).unwrap(), plan);
    let mut text = format!("init {}, new network {}, filter for {:?}\n", plan.init, plan.new_network, plan.filter);
    for (number, step) in plan.steps.iter().enumerate() {
        text += &format!("{:2} {step}\n", number + 1);
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/plan").join(format!("{case}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{case}; UPDATE_GOLDEN=1 rewrites it");
}

#[test]
fn a_build_step() {
    let mut spec = spec();
    spec.hosts = Some("127.0.0.1 localhost\n".to_owned());
    spec.resolv_conf = Some("nameserver 10.0.0.1\n".to_owned());
    spec.network = Network::Join(Handle(0));
    spec.create_cwd = true;
    spec.cwd = "/src".into();
    spec.mounts = vec![
        Mount {
            target: "/root/.cache".into(),
            kind: MountKind::Bind { source: BindSource::Handle(Handle(1)), recursive: false, nosuid: false },
            readonly: false,
            exec: true,
        },
        Mount {
            target: "/run/secrets/key".into(),
            kind: MountKind::Secret { content: Sensitive(vec![1, 2]), mode: 0o400, owner: (0, 0) },
            readonly: true,
            exec: false,
        },
        Mount {
            target: "/from".into(),
            kind: MountKind::Layers {
                lowers: vec!["/store/9/fs".into()],
                selector: "a/b".into(),
                upper: None,
                userxattr: false,
            },
            readonly: false,
            exec: true,
        },
    ];
    check("build-step", &spec, &facts());
}

#[test]
fn a_container_with_a_terminal() {
    let mut spec = spec();
    spec.stdio = Stdio::Terminal { rows: 24, columns: 80 };
    spec.init = false;
    spec.readonly_root = true;
    spec.user = "user:staff".to_owned();
    spec.security.no_new_privileges = true;
    spec.security.devices = Devices::With(vec![Device {
        source: "/dev/fuse".into(),
        target: "/dev/fuse".into(),
        access: "rw".to_owned(),
        mode: None,
        owner: None,
    }]);
    spec.rlimits = vec![Rlimit { name: "nofile".to_owned(), soft: 10, hard: 20 }];
    let mut facts = facts();
    let fuse = PathBuf::from("/dev/fuse");
    facts.devices = vec![DeviceNode {
        source: fuse.clone(),
        target: fuse,
        block: false,
        major: 10,
        minor: 229,
        mode: 0o600,
        owner: None,
    }];
    check("container", &spec, &facts);
}

#[test]
fn a_further_process() {
    let mut spec = spec();
    spec.stdio = Stdio::Terminal { rows: 24, columns: 80 };
    spec.user = "user".to_owned();
    check_plan("guest", enter(&spec, &facts(), Handle(0)).unwrap());
    spec.stdio = Stdio::default();
    spec.network = Network::Host;
    spec.emulated = crate::Machine::find("arm64").map(|machine| machine.handler());
    check_plan("guest-emulated", enter(&spec, &facts(), Handle(0)).unwrap());
    spec.init = false;
    assert_eq!(enter(&spec, &facts(), Handle(0)), Err(SpecError::NoInit));
}

#[test]
fn another_machine() {
    let mut spec = spec();
    spec.emulated = crate::Machine::find("arm64").map(|machine| machine.handler());
    check("emulated", &spec, &facts());
    check("emulated-by-an-old-kernel", &spec, &HostFacts { own_handlers: false, ..facts() });
}

#[test]
fn without_root() {
    let mut facts = facts();
    facts.rootless = true;
    facts.setgroups = false;
    facts.tty_group = None;
    facts.group = GroupFacts::default();
    let mut spec = spec();
    spec.network = Network::Host;
    check("rootless", &spec, &facts);
    spec.extra_groups = vec!["wheel".to_owned()];
    assert_eq!(plan(&spec, &facts), Err(SpecError::NeedsRoot("setting supplementary groups")));
}

// items: R010
#[test]
fn insecure() {
    let mut spec = spec();
    spec.security = Security::insecure();
    let mut facts = facts();
    facts.capabilities = CapSet::ALL.without(CapSet::named("SYS_RESOURCE").unwrap());
    check("insecure", &spec, &facts);
}

#[test]
fn without_device_control_the_root_has_no_devices() {
    let mut facts = facts();
    facts.group.controls_devices = false;
    let found = plan(&spec(), &facts).unwrap();
    assert!(found.steps.iter().any(|step| matches!(step, Step::RootOverlay { nodev: true, .. })));
}

#[test]
fn what_is_refused() {
    let refused = |change: &dyn Fn(&mut SandboxSpec)| {
        let mut spec = spec();
        change(&mut spec);
        plan(&spec, &facts()).unwrap_err().to_string()
    };
    let limit = |change: fn(&mut Limits)| refused(&move |spec| change(&mut spec.limits));
    assert_eq!(refused(&|spec| spec.args.clear()), "no command to run");
    assert!(refused(&|spec| spec.hostname = "x".repeat(65)).starts_with("host name `xxx"));
    assert_eq!(refused(&|spec| spec.env.push("=x".to_owned())), "environment entry `=x` is not NAME=value");
    assert_eq!(
        refused(&|spec| spec.security.apparmor = Some("p".to_owned())),
        "AppArmor profile `p` was asked for, but AppArmor is not enabled on this host"
    );
    assert_eq!(limit(|limits| limits.memory = Some(1)), "memory limit 1 is out of range (at least 6 MiB)");
    assert_eq!(limit(|limits| limits.pids = Pids::Max(0)), "process limit 0 is out of range (at least 1)");
    assert!(limit(|limits| limits.memory_swap = Some(1 << 30)).contains("which must be set"));
    assert!(limit(|limits| limits.cpuset_cpus = Some("0;1".to_owned())).contains("lists such as 0-3,5"));
    let device = |target: &str, access: &str| {
        let device = Device {
            source: "/dev/null".into(),
            target: target.into(),
            access: access.to_owned(),
            mode: None,
            owner: None,
        };
        refused(&move |spec| spec.security.devices = Devices::With(vec![device.clone()]))
    };
    assert_eq!(device("/etc/x", "r"), "invalid mount target `/etc/x`");
    assert_eq!(device("/dev/", "r"), "invalid mount target `/dev/`");
    assert_eq!(device("/dev/x", "rx"), "device access `rx` is not made of r, w and m");
    let order = Rlimit { name: "nofile".to_owned(), soft: 2, hard: 1 };
    assert_eq!(
        refused(&move |spec| spec.rlimits = vec![order.clone()]),
        "ulimit `nofile`: the soft limit is above the hard limit"
    );
}
