//! What instructions say about the image: configuration, history, labels, reproducible times.

use serde_json::{Value, json};

use crate::lab::{Lab, path};

/// Builds and returns what `inspect` says.
fn built(lab: &Lab, dockerfile: &str, args: &[&str]) -> Value {
    lab.build(dockerfile, &[("a", "A")], &[&["-t", "app"], args].concat()).ok();
    lab.inspect("app")
}

// items: I003 I004 I007 I010 O001
#[test]
fn configuration() {
    let lab = Lab::empty();
    let image = built(
        &lab,
        r#"FROM scratch
ENV a=1 b="two words"
ENV a=3
LABEL one=1 "two words"="2 2"
WORKDIR /w/x
USER app:extra
EXPOSE 80 53/udp 9000-9002
VOLUME ["/v1", "/v 2"]
VOLUME /v3 /v4
STOPSIGNAL SIGUSR1
SHELL ["/bin/bash", "-c"]
HEALTHCHECK --interval=5s --timeout=2s --retries=3 CMD exit 0
ONBUILD RUN echo hi
CMD echo $a
ENTRYPOINT ["/entry", "arg"]
"#,
        &["--label", "extra=given", "--label", "one=other"],
    );
    let config = &image["Config"];
    for (field, expected) in [
        ("Env", json!(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "a=3", "b=two words"])),
        ("Labels", json!({"extra": "given", "one": "other", "two words": "2 2"})),
        ("User", json!("app:extra")),
        ("WorkingDir", json!("/w/x")),
        ("ExposedPorts", json!({"53/udp": {}, "80/tcp": {}, "9000/tcp": {}, "9001/tcp": {}, "9002/tcp": {}})),
        ("Volumes", json!({"/v 2": {}, "/v1": {}, "/v3": {}, "/v4": {}})),
        ("StopSignal", json!("SIGUSR1")),
        ("Shell", json!(["/bin/bash", "-c"])),
        (
            "Healthcheck",
            json!({"Test": ["CMD-SHELL", "exit 0"], "Interval": 5_000_000_000i64, "Timeout": 2_000_000_000, "Retries": 3}),
        ),
        ("OnBuild", json!(["RUN echo hi"])),
        ("Cmd", json!(["/bin/bash", "-c", "echo $a"])),
        ("Entrypoint", json!(["/entry", "arg"])),
    ] {
        assert_eq!(config[field], expected, "{field}: {config}");
    }
    assert_eq!(image["Os"], "linux");
}

#[test]
fn entrypoint_clears_the_command_of_the_base_only() {
    let lab = Lab::empty();
    for (stage, command) in [
        ("FROM base", json!(["inherited"])),
        ("FROM base\nENTRYPOINT [\"e\"]", Value::Null),
        ("FROM base\nCMD [\"own\"]\nENTRYPOINT [\"e\"]", json!(["own"])),
        ("FROM base\nENTRYPOINT [\"e\"]\nCMD [\"own\"]", json!(["own"])),
    ] {
        lab.build("FROM scratch\nCOPY a /\nCMD [\"inherited\"]\n", &[("a", "A")], &["-t", "base"]).ok();
        let image = built(&lab, stage, &[]);
        assert_eq!(image["Config"]["Cmd"], command, "{stage}");
    }
}

// items: R014 R015 H001 H002
#[test]
fn history_tells_every_instruction() {
    let lab = Lab::new();
    let image = built(
        &lab,
        "FROM busybox\nARG x=1\nARG x=2\nENV e=1\nRUN true\nCOPY a /a\nWORKDIR /w\nCMD [\"a\", \"b\"]\nEXPOSE 1234/udp 2375\nUSER u\n",
        &[],
    );
    let history = image["History"].as_array().unwrap();
    let said: Vec<_> =
        history.iter().rev().take(9).rev().map(|entry| entry["created_by"].as_str().unwrap_or_default()).collect();
    let expected = [
        "ARG x=1",
        "ARG x=2",
        "ENV e=1",
        "RUN |1 x=2 /bin/sh -c true # buildkit",
        "COPY a /a # buildkit",
        "WORKDIR /w",
        "CMD [\"a\" \"b\"]",
        "EXPOSE [1234/udp 2375/tcp]",
        "USER u",
    ];
    assert_eq!(said, expected);
    let full = history.iter().filter(|entry| entry["empty_layer"] != true).count();
    assert_eq!(full, image["RootFS"]["Layers"].as_array().unwrap().len(), "one entry for each layer");
    let table = lab.say("history --no-trunc app").ok();
    assert!(expected.iter().all(|entry| table.stdout.contains(entry)), "{}", table.stdout);
}

// items: H011
#[test]
fn same_files_make_the_same_image_anywhere() {
    let digest = || {
        let lab = Lab::empty();
        let context = path(&lab.context("FROM scratch\nCOPY . /\nWORKDIR /w\n", &[("b", "B"), ("a/x", "X")]));
        for name in ["a/x", "b", "a", "Dockerfile"] {
            std::fs::File::open(format!("{context}/{name}"))
                .unwrap()
                .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000))
                .unwrap();
        }
        let mut command = lab.command(crate::lab::binary());
        command.env("SOURCE_DATE_EPOCH", "0").args([
            "build",
            "-q",
            "-o",
            "type=oci,dest=o.tar",
            "--metadata-file",
            "m",
            &context,
        ]);
        crate::lab::run(&mut command, b"").ok();
        let metadata: Value = serde_json::from_slice(&std::fs::read(lab.at("m")).unwrap()).unwrap();
        (metadata["containerimage.digest"].clone(), std::fs::read(lab.at("o.tar")).unwrap())
    };
    let (one, two) = (digest(), digest());
    assert_eq!(one.0, two.0);
    assert!(one.1 == two.1, "the archives are equal too");
}
