//! Builds for other platforms than this machine's.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::lab::{Lab, have, path, skip};

/// Instructions of arm64: `execve("/child", {"/child"}, 0)`, else `exit(1)`.
const PARENT: [u32; 10] = [
    0x1000_0140, // adr x0, path
    0xd100_43ff, // sub sp, sp, 16
    0xa900_7fe0, // stp x0, xzr, [sp]
    0x9100_03e1, // mov x1, sp
    0xd280_0002, // mov x2, 0
    0xd280_1ba8, // mov x8, 221
    0xd400_0001, // svc 0
    0xd280_0020, // mov x0, 1
    0xd280_0ba8, // mov x8, 93
    0xd400_0001, // svc 0
];

/// Instructions of arm64: write 20 bytes to standard output, `exit(0)`.
const CHILD: [u32; 8] = [
    0xd280_0020, // mov x0, 1
    0x1000_00e1, // adr x1, text
    0xd280_0282, // mov x2, 20
    0xd280_0808, // mov x8, 64
    0xd400_0001, // svc 0
    0xd280_0000, // mov x0, 0
    0xd280_0ba8, // mov x8, 93
    0xd400_0001, // svc 0
];

/// Returns an executable for arm64: header, one segment, instructions, data; see elf(5).
fn arm64(instructions: &[u32], data: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0\x01\0\0\0".to_vec();
    for word in [BASE + 120, 64, 0] {
        bytes.extend(word.to_le_bytes());
    }
    for half in [0, 0, 64, 56, 1, 0, 0, 0_u16] {
        bytes.extend(half.to_le_bytes());
    }
    let size = (120 + instructions.len() * 4 + data.len()) as u64;
    bytes.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, BASE, BASE, size, size, 0x1_0000] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(instructions.iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend(data);
    bytes
}

/// Puts the two programs into a context.
fn programs(context: &Path) {
    for (name, bytes) in [("parent", arm64(&PARENT, b"/child\0")), ("child", arm64(&CHILD, b"emulated grandchild\n"))] {
        let file = context.join(name);
        std::fs::write(&file, bytes).expect("writing");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    }
}

/// Whether steps for arm64 may run here: by the machine, a handler, or one of the step's own.
fn arm64_or_skip() -> bool {
    if cfg!(target_arch = "aarch64") || Path::new("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists() {
        return true;
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (6, 7) {
        skip("before 6.7 a kernel runs what an emulated program executes by binfmt_misc only");
        return false;
    }
    have(&["qemu-aarch64-static"])
}

#[test]
fn steps_of_another_machine_run() {
    if !arm64_or_skip() {
        return;
    }
    let lab = Lab::empty();
    let context = lab.context("FROM scratch\nCOPY parent child /\nRUN [\"/parent\"]\nCMD [\"/parent\"]", &[]);
    programs(&context);
    let built = lab.build_dir(&context, &["--platform=linux/arm64", "-t", "foreign"]).ok();
    assert!(built.stderr.contains("emulated grandchild"), "{}", built.stderr);
    assert_eq!(lab.inspect("foreign")["Architecture"], "arm64");
    assert_eq!(lab.say("run --rm foreign").ok().stdout, "emulated grandchild\n");
    // Nothing of the emulator is in the image.
    let mut files = Vec::new();
    let out = lab.files_of(&context, &["--platform=linux/arm64"]);
    files.extend(std::fs::read_dir(&out).expect("a directory").map(|entry| entry.expect("an entry").file_name()));
    files.sort();
    assert_eq!(files, ["child", "parent"]);
}

#[test]
fn a_step_that_nothing_here_runs_says_what_is_missing() {
    let lab = Lab::empty();
    let context = lab.context("FROM scratch\nCOPY Dockerfile /\nRUN [\"/x\"]", &[]);
    for (platform, said) in [
        ("linux/riscv64", "install a static `qemu-riscv64-static` (Debian: qemu-user-static), or register one"),
        ("linux/sparc64", "no emulator for linux/sparc64 is known"),
        ("windows/amd64", "no emulator for windows/amd64 is known"),
    ] {
        if platform == "linux/riscv64" && Path::new("/proc/sys/fs/binfmt_misc/qemu-riscv64").exists() {
            continue;
        }
        let mut command = lab.command(crate::lab::binary());
        command.env("PATH", "/nowhere").args(["build", "--progress=plain", "--platform", platform, &path(&context)]);
        let output = command.output().expect("rbuild runs");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(said), "{platform}: {stderr}");
    }
}

// items: O003 H010
#[test]
fn several_platforms_become_an_index() {
    let lab = Lab::empty();
    let dockerfile = "FROM scratch\nARG TARGETARCH TARGETPLATFORM\nCOPY $TARGETARCH /is\nLABEL for=$TARGETPLATFORM";
    let context = lab.context(dockerfile, &[("amd64", "a"), ("arm64", "b")]);
    let both = "--platform=linux/amd64,linux/arm64";
    let layout = lab.at("layout");
    let output = format!("type=oci,tar=false,dest={}", path(&layout));
    lab.build_dir(&context, &[both, "-o", &output, "-t", "app"]).ok();
    let read = |digest: &serde_json::Value| -> serde_json::Value {
        let hex = digest.as_str().and_then(|digest| digest.strip_prefix("sha256:")).expect("a digest");
        let bytes = std::fs::read(layout.join("blobs/sha256").join(hex)).expect("a blob");
        serde_json::from_slice(&bytes).expect("JSON")
    };
    let top: serde_json::Value =
        serde_json::from_slice(&std::fs::read(layout.join("index.json")).expect("an index")).expect("JSON");
    let index = read(&top["manifests"][0]["digest"]);
    let platform = |manifest: &serde_json::Value| {
        let config = read(&read(&manifest["digest"])["config"]["digest"]);
        format!("{} {}", manifest["platform"]["architecture"], config["config"]["Labels"]["for"])
    };
    let platforms: Vec<String> = index["manifests"].as_array().expect("manifests").iter().map(platform).collect();
    assert_eq!(platforms, [r#""amd64" "linux/amd64""#, r#""arm64" "linux/arm64""#]);

    let out = lab.files_of(&context, &[both]);
    let tar = lab.at("files.tar");
    lab.build_dir(&context, &[both, "-o", &format!("type=tar,dest={}", path(&tar))]).ok();
    for (folder, text) in [("linux_amd64", "a"), ("linux_arm64", "b")] {
        assert_eq!(std::fs::read_to_string(out.join(folder).join("is")).expect("a file"), text);
        let listed = lab.command("tar").args(["xOf", &path(&tar), &format!("{folder}/is")]).output().expect("tar runs");
        assert_eq!(String::from_utf8_lossy(&listed.stdout), text);
    }
    // An image without layers has a manifest for each, too.
    let empty = lab.context("FROM scratch\nLABEL a=b", &[]);
    let output = format!("type=oci,dest={}", path(&lab.at("empty.tar")));
    lab.build_dir(&empty, &[both, "-o", &output]).ok();
    let names = lab.command("tar").args(["tf", &path(&lab.at("empty.tar"))]).output().expect("tar runs");
    let blobs = String::from_utf8_lossy(&names.stdout).lines().filter(|name| name.len() > 70).count();
    assert_eq!(blobs, 5, "an index, two manifests, two configurations");

    // The store would have to choose one of them.
    for args in [[both, "-t", "local"].as_slice(), &[both, "-t", "local", "--load"], &[both, "-o", "type=image,name=x"]]
    {
        lab.build_dir(&context, args).exits(1).says("several platforms under one name");
    }
    lab.build_dir(&context, &[both]).ok();
    // The same platform twice is one.
    lab.build_dir(&context, &["--platform=linux/amd64,amd64", "-t", "one"]).ok();
}
