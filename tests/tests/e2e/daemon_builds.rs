//! Builds through the daemon, as a client asks for them that has no frontend of its own.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rbuild_session::client::ClientSession;
use serde_json::Value;

use crate::build_client::{dockerfile, into_file, session, with_output};
use crate::built::{decoded, details};
use crate::daemon::Daemon;
use crate::lab::{Lab, have, path, run};
use crate::registry::Registry;

/// Returns the text of a file in an archive.
fn in_archive(lab: &Lab, archive: &Path, name: &str) -> String {
    run(lab.command("tar").args(["-xOf", &path(archive), name]), b"").ok().stdout
}

#[test]
fn outputs_of_all_types_in_one_build() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab);
    let context = lab.context("FROM busybox\nRUN echo made > /made\nCOPY a /a\nENV A=1\n", &[("a", "A\n")]);
    let [oci, docker, tar] = ["oci.tar", "docker.tar", "files.tar"].map(|name| lab.at(name));
    let mut offered = session(&context).with_directory(3, lab.at("files"));
    for (number, file) in [&oci, &docker, &tar].into_iter().enumerate() {
        offered = into_file(offered, number, file);
    }
    let mut request = dockerfile(&[]);
    for (kind, attributes) in [
        ("oci", &[("name", "team/app:1")][..]),
        ("docker", &[("name", "team/app:1")]),
        ("tar", &[]),
        ("local", &[]),
        ("image", &[("name", "team/app:2")]),
    ] {
        request = with_output(request, kind, attributes);
    }
    let built = daemon.client().build(offered, request).ok();
    assert_eq!(built.told("image.name"), "team/app:2");
    let digest = built.told("containerimage.config.digest");
    let index: Value = serde_json::from_str(&in_archive(&lab, &oci, "index.json")).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1, "{index}");
    assert_eq!(in_archive(&lab, &tar, "made"), "made\n");
    assert_eq!(std::fs::read_to_string(lab.at("files/a")).unwrap(), "A\n");
    // What the daemon made is there for the command line, and so is what it sent once it is loaded.
    let image = lab.inspect("team/app:2");
    assert_eq!(image["Id"].as_str(), Some(digest));
    assert!(image["Config"]["Env"].to_string().contains("A=1"), "{image}");
    lab.rbuild(["load", "-i", &path(&docker)]).ok();
    lab.rbuild(["run", "--rm", "--network=none", "team/app:1", "cat", "/made", "/a"]).ok().prints("made\nA");
    daemon.stop();
}

#[test]
fn images_are_pushed() {
    let (lab, other) = (Lab::new(), Lab::empty());
    let Some(registry) = Registry::start(&lab, "registry", false) else { return };
    let daemon = Daemon::start(&lab);
    let name = format!("{}/team/app", registry.address);
    let context = lab.context("FROM busybox\nRUN echo pushed > /x\n", &[]);
    let request = with_output(dockerfile(&[]), "image", &[("name", &name), ("push", "true")]);
    let built = daemon.client().build(session(&context), request).ok();
    built.progress.vertex("exporting to image");
    let pinned = format!("{name}@{}", built.told("containerimage.digest"));
    other.rbuild(["run", "--rm", "--network=none", &pinned, "cat", "/x"]).ok().prints("pushed");
    daemon.stop();
}

#[test]
fn a_second_build_is_cached_and_nothing_is_transferred() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let big = "x".repeat(2 << 20);
    let context = lab.context("FROM busybox\nCOPY big /big\nRUN wc -c < /big > /size\n", &[("big", &big)]);
    let [first, second] = [(); 2].map(|()| {
        let request = with_output(dockerfile(&[]), "local", &[]);
        client.build(session(&context).with_directory(0, lab.at("out")), request).ok()
    });
    assert_eq!(std::fs::read_to_string(lab.at("out/size")).unwrap(), "2097152\n");
    assert_eq!(first.progress.ran().len(), 2, "{first:#?}");
    assert_eq!(second.progress.ran(), Vec::<&str>::new());
    let transferred = |built: &crate::built::Built| built.progress.work["transferring context:"];
    assert!(transferred(&first) >= 2 << 20, "{first:#?}");
    assert!(transferred(&second) < 10_000, "{second:#?}");
    // A change is seen, and it alone is sent.
    std::fs::write(context.join("big"), "small").unwrap();
    let third = client.build(session(&context), dockerfile(&[])).ok();
    assert_eq!(third.progress.ran().len(), 2, "{third:#?}");
    daemon.stop();
}

#[test]
fn a_failing_step_is_told_with_its_place() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let text = "FROM busybox\nRUN true\nRUN echo why >&2; exit 7\n";
    let failed = client.build(session(&lab.context(text, &[])), dockerfile(&[])).prints("why");
    let vertex = failed.progress.vertex("exit 7").clone();
    assert!(vertex.error.contains("exit code: 7"), "{vertex:?}");
    let status = failed.fails("did not complete successfully: exit code: 7");
    let [source, at, exit] =
        ["errdefs.Source", "errdefs.Vertex", "gatewayapi.ExitMessage"].map(|kind| details(&status, kind));
    assert_eq!(source.len(), 1, "{status:?}");
    assert_eq!(
        (decoded(&source[0]["info"]["data"]), source[0]["info"]["filename"].as_str()),
        (text.to_owned(), Some("Dockerfile"))
    );
    assert_eq!(source[0]["ranges"][0]["start"]["line"], 3);
    assert_eq!(at[0]["digest"].as_str(), Some(vertex.digest.as_str()));
    assert_eq!(exit[0]["Code"], 7);
    // What the frontend refuses has its place, too.
    let status = client.build(session(&lab.context("FROM busybox\nRUNN true\n", &[])), dockerfile(&[])).fails("RUNN");
    let source = details(&status, "errdefs.Source");
    assert_eq!(source[0]["ranges"][0]["start"]["line"], 2, "{status:?}");
    client.build(session(&lab.context("FROM scratch\nCOPY absent /\n", &[])), dockerfile(&[])).fails("absent");
    daemon.stop();
}

#[test]
fn secrets_come_from_the_session_of_the_build() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let text = "FROM busybox\nRUN --mount=type=secret,id=token,required echo got=$(wc -c < /run/secrets/token)\nRUN --mount=type=secret,id=token,env=T echo env=${#T}\n";
    let context = lab.context(text, &[]);
    let given = session(&context).with_secret("token", b"opensesame".to_vec());
    client.build(given, dockerfile(&[])).ok().prints("got=10").prints("env=10");
    // The first step is cached for whoever has no secret; nobody is asked for it again.
    let other = lab.context(&text.replace("got", "again"), &[]);
    client.build(session(&other), dockerfile(&[])).fails("token");
    daemon.stop();
}

/// Copies `ssh-add` with its libraries below a directory.
fn copy_ssh_add(lab: &Lab, root: &Path) {
    let libraries = run(lab.command("ldd").arg("/usr/bin/ssh-add"), b"").ok().stdout;
    let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.chain(["/usr/bin/ssh-add"]) {
        let copy = root.join(file.trim_start_matches('/'));
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(file, copy).unwrap();
    }
}

#[test]
fn agents_are_reached_through_the_session() {
    let lab = Lab::new();
    if !have(&["ssh-add", "ldd"]) {
        return;
    }
    let socket = lab.at("agent");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0; 5];
            while stream.read_exact(&mut asked).is_ok() {
                // SSH_AGENT_IDENTITIES_ANSWER with no keys.
                stream.write_all(&[0, 0, 0, 5, 12, 0, 0, 0, 0]).unwrap();
            }
        }
    });
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let text = "FROM busybox\nCOPY root /\nRUN --mount=type=ssh,required /usr/bin/ssh-add -l || true\n";
    let context = lab.context(text, &[]);
    copy_ssh_add(&lab, &context.join("root"));
    let built = client.build(session(&context).with_agent("default", &socket), dockerfile(&[])).ok();
    built.prints("The agent has no identities");
    std::fs::write(context.join("Dockerfile"), text.replace("|| true", "; true")).unwrap();
    client.build(session(&context), dockerfile(&[])).fails("ssh");
    daemon.stop();
}

#[test]
fn named_contexts_of_the_client_take_the_place_of_images() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab);
    let other = lab.context("", &[("f", "of the other\n")]);
    let context = lab.context("FROM base\nFROM scratch\nCOPY --from=base f /f\n", &[]);
    let offered = session(&context).with_local("other", &other).with_directory(0, lab.at("out"));
    let request = with_output(dockerfile(&[("context:base", "local:other")]), "local", &[]);
    daemon.client().build(offered, request).ok();
    assert_eq!(std::fs::read_to_string(lab.at("out/f")).unwrap(), "of the other\n");
    daemon.stop();
}

#[test]
fn several_platforms_make_an_index() {
    let lab = Lab::empty();
    let daemon = Daemon::start(&lab);
    let context = lab.context("FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /f\n", &[("amd64", "1"), ("arm64", "2")]);
    let archive = lab.at("oci.tar");
    let request = with_output(dockerfile(&[("platform", "linux/amd64,linux/arm64")]), "oci", &[]);
    let offered = into_file(session(&context), 0, &archive);
    let built = daemon.client().build(offered, request).ok();
    let index: Value = serde_json::from_str(&in_archive(&lab, &archive, "index.json")).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    assert_eq!(built.told("containerimage.digest"), digest);
    let index = in_archive(&lab, &archive, &format!("blobs/{}", digest.replace(':', "/")));
    let index: Value = serde_json::from_str(&index).unwrap();
    let platforms: Vec<_> =
        index["manifests"].as_array().unwrap().iter().map(|m| &m["platform"]["architecture"]).collect();
    assert_eq!(platforms, ["amd64", "arm64"]);
    daemon.stop();
}

#[test]
fn what_a_client_does_not_offer_is_said() {
    let lab = Lab::empty();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let context = lab.context("FROM scratch\nCOPY a /\n", &[("a", "A")]);
    let without_context = ClientSession::new("").with_local("dockerfile", &context);
    client.build(without_context, dockerfile(&[])).fails("context");
    client.build(ClientSession::new(""), dockerfile(&[])).fails("");
    // An output of the client with nobody there to take it.
    client.build(session(&context), with_output(dockerfile(&[]), "tar", &[])).fails("");
    for (kind, attributes, said) in [
        ("sideways", &[][..], "sideways"),
        ("image", &[("push", "perhaps")], "perhaps"),
        ("oci", &[("compression", "sideways")], "sideways"),
        ("image", &[("name", "UPPER CASE")], "UPPER CASE"),
    ] {
        client.build(session(&context), with_output(dockerfile(&[]), kind, attributes)).fails(said);
    }
    client.build(session(&context), dockerfile(&[("platform", "sideways/")])).fails("sideways");
    client.build(session(&context), dockerfile(&[("target", "absent")])).fails("absent");
    daemon.stop();
}
