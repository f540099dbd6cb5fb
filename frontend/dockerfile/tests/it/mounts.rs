//! `RUN --mount` and `--device`: M001-M022, R011.

use crate::{instruction, read};
use rbuild_dockerfile::instruction::{Device, Mount, MountKind, Network, Security, Sharing};
use rbuild_dockerfile::{Instruction, Lexer};
use std::collections::BTreeMap;

/// Reads `RUN --mount=text`, and then the mount with variables expanded.
fn resolve(text: &str) -> Result<Mount, String> {
    let (dockerfile, diagnostics) = read(&format!("FROM a\nRUN --mount={text} x"));
    if let Some(diagnostic) = diagnostics.first() {
        return Err(format!("early: {}", diagnostic.text()));
    }
    let Instruction::Run(run) = &dockerfile.stages[0].instructions[0].instruction else { panic!() };
    let environment = BTreeMap::from([("T".to_owned(), "cache".to_owned()), ("ID".to_owned(), "i,d".to_owned())]);
    let lexer = Lexer::new('\\');
    run.mounts[0].resolve(|value| Ok(lexer.word(value, &environment)?.value)).map_err(|error| {
        match error.suggestion() {
            Some(near) => format!("{error} (did you mean {near}?)"),
            None => error.to_string(),
        }
    })
}

fn mount(kind: MountKind, read_only: bool) -> Mount {
    Mount { kind, read_only, ..Mount::default() }
}

// items: M002 M003 M004 M022
#[test]
fn m002_m003_values() {
    let some = |text: &str| Some(text.to_owned());
    let rows = [
        ("target=/x", Mount { target: some("/x"), ..mount(MountKind::Bind, true) }),
        ("type=bind,dst=/x,rw", Mount { target: some("/x"), ..mount(MountKind::Bind, false) }),
        ("type=bind,destination=/x,ro=false", Mount { target: some("/x"), ..mount(MountKind::Bind, false) }),
        ("TYPE=Cache,Target=/x", Mount { target: some("/x"), ..mount(MountKind::Cache, false) }),
        ("type=$T,target=/x", Mount { target: some("/x"), ..mount(MountKind::Cache, false) }),
        (
            "type=cache,target=/x,id=$ID,sharing=Locked,readonly,uid=1,gid=2,mode=0750,from=b,src=s",
            Mount {
                target: some("/x"),
                id: some("i,d"),
                sharing: Some(Sharing::Locked),
                uid: Some(1),
                gid: Some(2),
                mode: Some(0o750),
                from: some("b"),
                source: some("s"),
                ..mount(MountKind::Cache, true)
            },
        ),
        (
            "type=tmpfs,target=/x,size=64m",
            Mount { target: some("/x"), size: 64 << 20, ..mount(MountKind::Tmpfs, false) },
        ),
        (
            "type=secret,id=s,required,env=E",
            Mount { id: some("s"), required: true, env: some("E"), ..mount(MountKind::Secret, true) },
        ),
        ("type=ssh,required=false", mount(MountKind::Ssh, true)),
        ("type=bind,\"target=/a,b\"", Mount { target: some("/a,b"), ..mount(MountKind::Bind, true) }),
        ("from=b$,target=/x", Mount { target: some("/x"), from: some("b$"), ..mount(MountKind::Bind, true) }),
    ];
    for (text, want) in rows {
        let text = text.replace('"', "\\\"");
        assert_eq!(resolve(&text), Ok(want), "{text}");
    }
}

// items: M001 M003 M012 M017 M021 M022
#[test]
fn m001_m012_m017_m021_messages() {
    let rows = [
        ("type=tmp", "unsupported mount type \"tmp\" (did you mean tmpfs?)"),
        ("type=foo", "unsupported mount type \"foo\""),
        ("typ=tmpfs", "unexpected key 'typ' in 'typ=tmpfs' (did you mean type?)"),
        ("foo", "invalid field 'foo' must be a key=value pair"),
        ("from=$x,target=/y", "early: 'from' doesn't support variable expansion, define alias stage instead"),
        ("", "early: failed to parse csv mounts: EOF"),
        ("required", "unexpected key 'required' for mount type 'bind'"),
        ("required,type=secret", "unexpected key 'required' for mount type 'bind'"),
        ("size=1m,type=tmpfs", "unexpected key 'size' for mount type 'bind'"),
        ("type=tmpfs,size=x", "invalid value for size: x"),
        ("ro=maybe", "invalid value for ro: maybe"),
        ("type=secret,id=a,env=", "invalid value for env: "),
        ("type=secret,id=a,env=A=b", "invalid value for env: A=b"),
        ("type=cache,sharing=share", "unsupported sharing value \"share\" (did you mean shared?)"),
        ("type=cache,mode=9", "invalid value 9 for mode"),
        ("type=cache,uid=-1", "invalid value -1 for uid"),
        ("type=cache,gid=4294967296", "invalid value 4294967296 for gid"),
        ("type=bind,mode=0700", "mode not allowed for \"bind\" type mounts"),
        ("type=tmpfs,uid=1", "uid not allowed for \"tmpfs\" type mounts"),
        ("type=bind,gid=1", "gid not allowed for \"bind\" type mounts"),
        ("type=bind,sharing=shared", "invalid cache sharing set for bind mount"),
        ("type=secret,id=a,from=b", "secret mount should not have a from"),
        ("type=secret,id=a,sharing=shared", "secret mount should not define sharing"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=secret,id=a,source=b", "both source and id can't be set"),
        ("type=cache,target=${X", "failed to process \"${X\": syntax error: missing '}'"),
    ];
    for (text, want) in rows {
        assert_eq!(resolve(text), Err(want.to_owned()), "{text}");
    }
}

/// M022: sizes are humanised.
// items: M022
#[test]
fn m022_sizes() {
    use rbuild_dockerfile::literal::memory_size;
    let rows = [
        ("0", Some(0)),
        ("32", Some(32)),
        ("32b", Some(32)),
        ("1k", Some(1024)),
        ("1.5KiB", Some(1536)),
        ("2 mb", Some(2 << 20)),
        ("1g", Some(1 << 30)),
        ("1t", Some(1 << 40)),
        (".5k", Some(512)),
        ("", None),
        ("k", None),
        ("-1", None),
        ("1kk", None),
        ("1kbb", None),
        ("1x", None),
        ("1bb", None),
        ("inf", None),
    ];
    for (text, want) in rows {
        assert_eq!(memory_size(text), want, "{text:?}");
    }
}

/// R009-R011: the other flags of RUN.
// items: R009
#[test]
fn r009_r010_r011_flags() {
    let run = |line: &str| match instruction(line) {
        Instruction::Run(run) => run,
        other => panic!("{other:?}"),
    };
    assert_eq!(run("RUN --network=none x").network, Network::None);
    assert_eq!(run("RUN --network=host --security=insecure x").security, Security::Insecure);
    assert!(!run("RUN x").network_given);
    let device = |name: &str, required| Device { name: name.to_owned(), required };
    let rows = [
        ("v.com/d=foo", device("v.com/d=foo", false)),
        ("v.com/d", device("v.com/d", false)),
        ("v.com/d=foo,required", device("v.com/d=foo", true)),
        ("name=v.com/d=foo,required=true", device("v.com/d=foo", true)),
        ("required=0,v.com/d", device("v.com/d", false)),
    ];
    for (text, want) in rows {
        assert_eq!(run(&format!("RUN --device={text} x")).devices, [want], "{text}");
    }
    let error = |text: &str| Device::parse(text).unwrap_err().to_string();
    assert_eq!(error("a,name=b"), "device name already set to a");
    assert_eq!(error("a,b"), "invalid field 'b' must be a key=value pair");
    assert_eq!(error("a,requird=1"), "unexpected key 'requird' in 'requird=1'");
    assert_eq!(error("a,required=x"), "invalid value for required: x");
}
