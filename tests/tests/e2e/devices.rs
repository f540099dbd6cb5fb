//! `RUN --device`: what the Container Device Interface describes.

use crate::lab::{Lab, is_root, path};

const ADMINISTRATOR: &str = "
cdiVersion: 0.6.0
kind: acme.com/board
containerEdits:
  env: [BOARD=all]
devices:
- name: free
  annotations: {org.mobyproject.buildkit.device.autoallow: true}
  containerEdits:
    env: [FREE=yes]
- name: full
  containerEdits:
    env: [FULL=yes]
    deviceNodes:
    - {path: /dev/board/full, hostPath: /dev/full, permissions: r}
    mounts:
    - {hostPath: HERE/lib, containerPath: /opt/board, options: [ro, nosuid, nodev, bind]}
  annotations: {org.mobyproject.buildkit.device.class: boards}
- name: log
  containerEdits:
    deviceNodes: [{path: /dev/board/log, hostPath: /dev/kmsg, permissions: r}]
- name: hooked
  containerEdits:
    hooks: [{hookName: createContainer, path: /bin/true}]
";

// items: R011
#[test]
fn devices_are_described_granted_and_given() {
    let lab = Lab::new();
    let specs = lab.at("cdi");
    std::fs::create_dir_all(lab.at("lib")).expect("a directory");
    std::fs::create_dir(&specs).expect("a directory");
    std::fs::write(lab.at("lib/lib.so"), "driver").expect("writing");
    std::fs::write(specs.join("a.yaml"), ADMINISTRATOR.replace("HERE", &path(lab.path()))).expect("writing");
    let json = r#"{"cdiVersion":"0.6.0","kind":"acme.com/other","devices":[{"name":"x","containerEdits":{"env":["OTHER=1"]}}]}"#;
    std::fs::write(specs.join("b.json"), json).expect("writing");
    std::fs::write(specs.join("c.json"), "{").expect("writing");
    // A pipe that nobody writes to is not waited for.
    let pipe = specs.join("d.yaml");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).expect("a pipe");
    let dir = format!("--cdi-spec-dir={}", path(&specs));
    let env = "env | grep -E '^(BOARD|FREE|FULL|OTHER)=' | sort | tr '\\n' ' '";
    for (flags, allow, printed) in [
        ("--device=acme.com/board=free,required --device=none.com/x=y", "", "BOARD=all FREE=yes "),
        ("--device=acme.com/board=full", "device=acme.com/board=full", "BOARD=all FULL=yes "),
        ("--device=acme.com/board=*", "device", ""),
        ("--device=boards", "device=boards", "BOARD=all FULL=yes "),
        ("--device=mine", "device=acme.com/other=x,alias=mine", "OTHER=1 "),
        ("--device=acme.com/other", "device", "OTHER=1 "),
    ] {
        let dockerfile =
            format!("FROM busybox AS p\nRUN {flags} {env} > /printed\nFROM scratch\nCOPY --from=p /printed /");
        let allow = if allow.is_empty() { Vec::new() } else { vec!["--allow", allow] };
        let args = [&allow[..], &[dir.as_str()]].concat();
        if flags.ends_with('*') {
            let error = lab.build(&dockerfile, &[], &args).exits(1);
            assert!(error.stderr.contains("asks for hooks (programs that are run on the host)"), "{}", error.stderr);
            continue;
        }
        let out = lab.files(&dockerfile, &[], &args);
        assert_eq!(std::fs::read_to_string(out.join("printed")).expect("a file"), printed, "{flags}");
    }
    for (flags, allow, said) in [
        (
            "--device=acme.com/board=full",
            "network.host",
            "device acme.com/board=full is requested by the build but not allowed",
        ),
        (
            "--device=acme.com/nope=x,required",
            "device",
            "required device \"acme.com/nope=x\" is not registered (descriptions that cannot be read: ",
        ),
    ] {
        let dockerfile = format!("FROM busybox\nRUN {flags} true");
        let error = lab.build(&dockerfile, &[], &[&dir, "--allow", allow]).exits(1);
        assert!(error.stderr.contains(said), "{}", error.stderr);
    }
    let script = "cat /opt/board/lib.so; touch /opt/board/x 2>&1 | grep -o Read-only; head -c 1 /dev/board/full | wc -c; grep -o '/opt/board.*nosuid' /proc/self/mounts | wc -l";
    let dockerfile = format!(
        "FROM busybox AS p\nRUN --device=acme.com/board=full ({script}) > /printed\nFROM scratch\nCOPY --from=p /printed /\nCOPY --from=p /opt /opt"
    );
    let gone = lab.build(&dockerfile, &[], &[&dir, "--allow", "device"]).exits(1);
    assert!(gone.stderr.contains("\"/opt\": not found"), "mount points are removed again: {}", gone.stderr);
    let out = lab.files(&dockerfile.replace("\nCOPY --from=p /opt /opt", ""), &[], &[&dir, "--allow", "device"]);
    assert_eq!(std::fs::read_to_string(out.join("printed")).expect("a file"), "driverRead-only\n1\n1\n");
    if is_root() && std::path::Path::new("/dev/kmsg").exists() {
        // The step's group has the node for reading only.
        let dockerfile = "FROM busybox\nRUN --device=acme.com/board=log echo x > /dev/board/log";
        let error = lab.build(dockerfile, &[], &[&dir, "--allow", "device"]).exits(1);
        assert!(error.stderr.contains("Operation not permitted"), "{}", error.stderr);
    }
}
