//! Configuration and history that instructions make: rows of a Dockerfile and a part
//! of the image.

#[allow(dead_code, reason = "shared by several tests")]
mod common;

use common::{build, history, request};
use serde_json::{Value, json};

/// Builds upon an image with a command, an entry point and a shell (`app`) or nothing, and compares a field.
fn check(rows: &[(&str, &str, Value)]) {
    for (text, field, expected) in rows {
        let text = if text.starts_with("FROM") { (*text).to_owned() } else { format!("FROM scratch\n{text}") };
        let lowered = build(&text, &request()).unwrap_or_else(|error| panic!("{text}\n{error}"));
        let config = serde_json::to_value(&lowered.config).unwrap();
        let found = config.pointer(field).or_else(|| config["config"].get(*field)).cloned().unwrap_or(Value::Null);
        assert_eq!(found, *expected, "{text}\n{field}");
    }
}

fn fails(rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        let text = format!("FROM scratch\n{text}\n");
        let (ast, mut diagnostics) = rbuild_dockerfile::parse(&text);
        diagnostics.extend(rbuild_dockerfile::interpret(&ast).1);
        let told = match diagnostics.iter().find(|diagnostic| diagnostic.is_error()) {
            Some(error) => error.text(),
            None => build(&text, &request()).err().unwrap_or_else(|| panic!("{text} was accepted")).first(),
        };
        assert!(told.contains(expected), "{text}\n{told}");
    }
}

// items: I001 I002
#[test]
fn i001_commands() {
    check(&[
        ("CMD echo hi", "Cmd", json!(["/bin/sh", "-c", "echo hi"])),
        ("CMD echo hi", "ArgsEscaped", json!(true)),
        ("CMD [\"a\", \"b c\"]", "Cmd", json!(["a", "b c"])),
        ("SHELL [\"bash\", \"-c\"]\nCMD x\nENTRYPOINT y", "Cmd", json!(["bash", "-c", "x"])),
        ("SHELL [\"bash\", \"-c\"]\nCMD x\nENTRYPOINT y", "Entrypoint", json!(["bash", "-c", "y"])),
        ("CMD one\nCMD [\"two\"]", "Cmd", json!(["two"])),
        ("ENTRYPOINT one\nENTRYPOINT [\"two\"]", "Entrypoint", json!(["two"])),
        ("HEALTHCHECK CMD one\nHEALTHCHECK NONE", "/config/Healthcheck/Test", json!(["NONE"])),
        ("FROM app\nUSER x", "Cmd", json!(["arg"])),
        ("FROM app\nENTRYPOINT [\"e\"]", "Cmd", Value::Null),
        ("FROM app\nENTRYPOINT [\"e\"]\nCMD [\"own\"]", "Cmd", json!(["own"])),
        ("FROM app\nCMD [\"own\"]\nENTRYPOINT [\"e\"]", "Cmd", json!(["own"])),
        ("FROM app\nCMD x", "Entrypoint", json!(["/entry"])),
        ("FROM app\nCMD x", "Cmd", json!(["/bin/ash", "-c", "x"])),
    ]);
}

// items: I003 I004 I005 I007 I008 I009 I012
#[test]
fn i003_to_i012_fields() {
    check(&[
        ("LABEL a=1 b=\"x y\" 'c d'=e", "Labels", json!({"a": "1", "b": "x y", "c d": "e"})),
        ("LABEL old style value", "Labels", json!({"old": "style value"})),
        ("ENV k=key v=val\nLABEL $k=$v \"${k}2\"='$v'", "Labels", json!({"key": "val", "key2": "$v"})),
        ("FROM alpine\nLABEL from=me", "Labels", json!({"from": "me"})),
        (
            "EXPOSE 80 53/UDP 9000-9002/tcp 1/sctp",
            "ExposedPorts",
            json!({"1/sctp": {}, "53/udp": {}, "80/tcp": {}, "9000/tcp": {}, "9001/tcp": {}, "9002/tcp": {}}),
        ),
        ("EXPOSE 127.0.0.1:80:8080 0 65535", "ExposedPorts", json!({"0/tcp": {}, "65535/tcp": {}, "8080/tcp": {}})),
        ("ARG ports=\"3000 4000/udp\"\nEXPOSE $ports", "ExposedPorts", json!({"3000/tcp": {}, "4000/udp": {}})),
        ("USER nobody:nogroup", "User", json!("nobody:nogroup")),
        ("ARG who=a\nUSER ${who}:b", "User", json!("a:b")),
        ("VOLUME /a /b", "Volumes", json!({"/a": {}, "/b": {}})),
        ("VOLUME [\"/with blank\", \"/c\"]", "Volumes", json!({"/c": {}, "/with blank": {}})),
        ("FROM app\nVOLUME /a", "Volumes", json!({"/a": {}, "/data": {}})),
        ("STOPSIGNAL SIGKILL", "StopSignal", json!("SIGKILL")),
        ("STOPSIGNAL 9", "StopSignal", json!("9")),
        ("ARG s=RTMIN\nSTOPSIGNAL ${s}+3", "StopSignal", json!("RTMIN+3")),
        ("SHELL [\"bash\", \"-c\"]", "Shell", json!(["bash", "-c"])),
        ("MAINTAINER who <who@example.com>", "/author", json!("who <who@example.com>")),
        ("FROM alpine\nMAINTAINER me", "/author", json!("me")),
    ]);
    fails(&[
        ("EXPOSE 65536", "invalid containerPort"),
        ("EXPOSE 5-3", "invalid"),
        ("EXPOSE 80/http", "invalid proto"),
        ("EXPOSE x", "invalid"),
        ("VOLUME [\"\"]", "VOLUME specified can not be an empty string"),
        ("STOPSIGNAL SIGNOTHING", "invalid signal"),
        ("STOPSIGNAL 0", "invalid signal"),
        ("SHELL bash -c", "SHELL requires the arguments to be in JSON form"),
        ("LABEL", "LABEL requires at least one argument"),
        ("USER", "USER requires exactly one argument"),
    ]);
}

// items: I006
#[test]
fn i006_directories() {
    check(&[
        ("WORKDIR /a\nWORKDIR b\nWORKDIR ../c", "WorkingDir", json!("/a/c")),
        ("WORKDIR a", "WorkingDir", json!("/a")),
        ("FROM app\nWORKDIR sub", "WorkingDir", json!("/srv/app/sub")),
        ("ENV d=/x\nWORKDIR $d/y", "WorkingDir", json!("/x/y")),
        ("WORKDIR /a\nWORKDIR /a", "/history/1/empty_layer", Value::Null),
        ("WORKDIR /", "/history/0/empty_layer", json!(true)),
    ]);
}

// items: I010 I011
#[test]
fn i010_i011_checks_and_triggers() {
    let all = "HEALTHCHECK --interval=5s --timeout=1m --start-period=1h --start-interval=1ms --retries=3 CMD x\n";
    check(&[
        (
            all,
            "Healthcheck",
            json!({"Test": ["CMD-SHELL", "x"], "Interval": 5_000_000_000_i64, "Timeout": 60_000_000_000_i64, "StartPeriod": 3_600_000_000_000_i64, "StartInterval": 1_000_000, "Retries": 3}),
        ),
        ("SHELL [\"bash\"]\nHEALTHCHECK CMD x", "Healthcheck", json!({"Test": ["CMD-SHELL", "x"]})),
        ("HEALTHCHECK CMD [\"x\", \"y\"]", "Healthcheck", json!({"Test": ["CMD", "x", "y"]})),
        ("HEALTHCHECK none", "Healthcheck", json!({"Test": ["NONE"]})),
        ("ONBUILD RUN  echo  hi\nONBUILD copy a b", "OnBuild", json!(["RUN  echo  hi", "copy a b"])),
        ("ONBUILD ENV a=1", "/history", json!(null)),
    ]);
    fails(&[
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK RUN x", "Unknown type \"RUN\" in HEALTHCHECK (try CMD)"),
        ("HEALTHCHECK --interval=1us CMD x", "interval"),
        ("HEALTHCHECK --retries=-1 CMD x", "retries"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD MAINTAINER x", "MAINTAINER isn't allowed as an ONBUILD trigger"),
    ]);
}

/// Instructions and their lines of the history; those without a layer stand in parentheses.
// items: C025 H001 H002
#[test]
fn h001_h002_history() {
    for (text, expected) in [
        ("ENV k=v k2=\"v 2\"", "(ENV k=v k2=v 2)"),
        ("ENV old value", "(ENV old=value)"),
        ("LABEL k=v k2=v2", "(LABEL k=v k2=v2)"),
        ("CMD [\"a\", \"b\"]", "(CMD [\"a\" \"b\"])"),
        ("CMD a \"b\"", "(CMD [\"/bin/sh\" \"-c\" \"a \\\"b\\\"\"])"),
        ("ENTRYPOINT [\"a\"]", "(ENTRYPOINT [\"a\"])"),
        ("EXPOSE 2375 5000 1234/udp", "(EXPOSE [1234/udp 2375/tcp 5000/tcp])"),
        ("USER x:y", "(USER x:y)"),
        ("VOLUME /a /b", "(VOLUME [/a /b])"),
        ("STOPSIGNAL SIGTERM", "(STOPSIGNAL SIGTERM)"),
        ("SHELL [\"a\", \"b\"]", "(SHELL [a b])"),
        ("ARG k=v k2", "(ARG k=v k2)"),
        ("MAINTAINER x", "(MAINTAINER x)"),
        ("WORKDIR /x", "WORKDIR /x"),
        ("WORKDIR /", "(WORKDIR /)"),
        (
            "HEALTHCHECK --timeout=3s CMD x",
            "(HEALTHCHECK {Test:[CMD-SHELL x] Interval:0s Timeout:3s StartPeriod:0s StartInterval:0s Retries:0})",
        ),
        ("ONBUILD RUN x", ""),
        ("FROM alpine\nRUN echo bar > foo4", "RUN /bin/sh -c echo bar > foo4 # buildkit"),
        ("FROM alpine\nRUN [\"ls\", \"-l\"]", "RUN ls -l # buildkit"),
        ("FROM alpine\nARG a=1\nRUN x", "(ARG a=1); RUN |1 a=1 /bin/sh -c x # buildkit"),
        ("COPY a b c/", "COPY a b c/ # buildkit"),
        ("COPY --from=alpine --link --exclude=x a /", "COPY a / # buildkit"),
        ("COPY --parents --chmod=600 --chown=1:2 a /", "COPY --parents --chown=1:2 --chmod=600 a / # buildkit"),
        ("ENV d=/d\nCOPY a $d", "(ENV d=/d); COPY a /d # buildkit"),
        (
            "ADD --checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 https://example.com/x /",
            "ADD https://example.com/x / # buildkit",
        ),
        ("ADD --keep-git-dir https://example.com/x.git /", "ADD https://example.com/x.git / # buildkit"),
        ("COPY <<E a /x/\nbody\nE", "COPY a <<E /x/ # buildkit"),
    ] {
        let text = if text.starts_with("FROM") { text.to_owned() } else { format!("FROM scratch\n{text}") };
        let lowered = build(&text, &request()).unwrap_or_else(|error| panic!("{text}\n{error}"));
        assert_eq!(history(&lowered).join("; "), expected, "{text}");
    }
}

// items: C001 C024
#[test]
fn c001_c024_operands() {
    fails(&[
        (
            "COPY a",
            "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        (
            "ADD a",
            "ADD requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        ("COPY", "COPY requires at least two arguments"),
        ("COPY https://example.com/x /", "source can't be a URL for COPY"),
        ("COPY git@github.com:a/b.git /", "source can't be a git ref for COPY"),
        ("COPY https://example.com/x.git#main /", "source can't be a git ref for COPY"),
    ]);
}
