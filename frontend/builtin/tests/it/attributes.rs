//! What each attribute does to the graph.

use crate::{ask, client, shown};

/// Builds `RUN x` upon an image and looks for `expect` in the graph.
fn check(attributes: &[&str], expect: &[&str]) {
    let answered = ask(&client("FROM alpine AS one\nRUN x\nFROM one\nRUN y\n"), attributes).unwrap();
    let text = shown(&answered);
    expect.iter().for_each(|expect| assert!(text.contains(expect), "{attributes:?}: {expect} in {text}"));
}

#[test]
fn steps() {
    check(&[], &["[one 1/2] FROM docker.io/library/alpine:latest@sha256:", "platform linux/amd64"]);
    check(&["add-hosts=\"Foo=1.2.3.4\",b=::1"], &["foo", "1.2.3.4", "::1"]);
    check(&["force-network-mode=none"], &["network None"]);
    check(&["force-network-mode=host"], &["network Host"]);
    check(&["ulimit=nofile=1:2,core=-1"], &["ulimit nofile=1:2", "ulimit core=-1:-1"]);
    check(&["cgroup-parent=c"], &["cgroup-parent c"]);
    check(&["hostname=h"], &["hostname h"]);
    check(&["hostname=h", "build-arg:BUILDKIT_SANDBOX_HOSTNAME=i"], &["hostname i"]);
    check(&["shm-size=4096"], &["/dev/shm"]);
    check(&["image-resolve-mode=pull"], &["image.resolvemode=pull"]);
    check(&["image-resolve-mode=local"], &["image.resolvemode=local"]);
    check(&["build-arg:HTTP_PROXY=p"], &["proxy p "]);
    check(&["platform=linux/arm64"], &["platform linux/arm64"]);
    check(&["unknown=1", "cache-imports=[]", "no-cache-filter=x"], &[]);
}

#[test]
fn resources() {
    let all =
        ["memory=5", "memswap=-1", "cpushares=1", "cpuperiod=2", "cpuquota=3", "cpusetcpus=0-3,5", "cpusetmems=0"];
    let answered = ask(&client("FROM alpine\nRUN x\n"), &all).unwrap();
    let (_, graph) = crate::graphs(&answered).remove(0);
    let step = graph.vertex(&graph.root().unwrap().vertex).unwrap();
    let limits = step.metadata.linux_resources.as_ref().unwrap();
    assert_eq!((limits.memory, limits.memory_swap, limits.cpu_shares), (5, -1, 1));
    assert_eq!((limits.cpu_period, limits.cpu_quota), (2, 3));
    assert_eq!((limits.cpuset_cpus.as_str(), limits.cpuset_mems.as_str()), ("0-3,5", "0"));
}

#[test]
fn steps_that_may_not_come_from_the_cache() {
    for (attributes, expect) in [
        (&[][..], [false, false]),
        (&["no-cache="], [true, true]),
        (&["no-cache=ONE,other"], [true, false]),
        (&["no-cache=two"], [false, true]),
    ] {
        let answered = ask(&client("FROM alpine AS one\nRUN x\nFROM one AS two\nRUN y\n"), attributes).unwrap();
        let (_, graph) = crate::graphs(&answered).remove(0);
        let steps = graph.vertices().iter().filter(|vertex| vertex.name.contains("RUN"));
        let found: Vec<bool> = steps.map(|vertex| vertex.metadata.ignore_cache).collect();
        assert_eq!(found, expect, "{attributes:?}");
    }
}

#[test]
fn target_arguments_and_labels() {
    let table = client("FROM alpine AS one\nARG A\nRUN x $A\nFROM scratch AS two\n");
    let answered = ask(&table, &["target=ONE", "build-arg:A=b", "label:l=m"]).unwrap();
    assert!(shown(&answered).contains("A=b"), "{}", shown(&answered));
    assert!(crate::metadata(&answered, "containerimage.config").contains(r#""Labels":{"l":"m"}"#));
    assert_eq!(shown(&ask(&table, &["target="]).unwrap()), shown(&ask(&table, &["target=two"]).unwrap()));
}
