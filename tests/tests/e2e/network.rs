//! Networks of steps and containers.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use crate::lab::{Lab, is_root, skip};

fn host_namespace() -> String {
    std::fs::read_link("/proc/self/ns/net").unwrap().to_str().unwrap().to_owned()
}

/// Returns the address by which this machine reaches others.
fn host_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    match socket.local_addr().ok()?.ip() {
        std::net::IpAddr::V4(address) if !address.is_loopback() => Some(address),
        _ => None,
    }
}

// items: R004 R009
#[test]
fn default_is_a_network_of_its_own() {
    let lab = Lab::new();
    let printed =
        lab.step("", "readlink /proc/self/ns/net; ip -4 route; ip link; cat /etc/resolv.conf /etc/hosts", &[]);
    assert!(!printed.contains(&host_namespace()), "{printed}");
    for part in ["default via", "lo:", "nameserver", "127.0.0.1", "buildkitsandbox"] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let loopback = printed.lines().find(|line| line.starts_with("nameserver 127."));
    assert!(loopback.is_none(), "a resolver on the host's loopback cannot be reached: {printed}");
}

#[test]
fn host_is_reached_by_address_and_not_by_loopback() {
    let lab = Lab::new();
    let Some(address) = host_address() else { return skip("this machine has no address but loopback") };
    if !is_root() {
        return skip("a user-mode network has this machine's own address inside");
    }
    let listener = TcpListener::bind((address, 0)).unwrap();
    let loopback = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, inner) = (listener.local_addr().unwrap().port(), loopback.local_addr().unwrap().port());
    for listener in [listener, loopback] {
        std::thread::spawn(move || {
            listener.incoming().for_each(|stream| drop(stream.and_then(|mut stream| stream.write_all(b"reached\n"))))
        });
    }
    let printed = lab.step(
        "",
        &format!(
            "nc -w 3 {address} {port} < /dev/null; nc -w 1 127.0.0.1 {inner} < /dev/null 2>/dev/null || echo refused"
        ),
        &[],
    );
    assert_eq!(printed, "reached\nrefused\n");
}

// items: R009
#[test]
fn none_has_loopback_only() {
    let lab = Lab::new();
    let script = "ip -o link | wc -l; ip route | wc -l; ip -o addr show lo | grep -c 127.0.0.1";
    assert_eq!(lab.step("--network=none", script, &[]), "1\n0\n1\n");
    assert_eq!(lab.step("", script, &["--network=none"]), "1\n0\n1\n");
    lab.sh("--network=none", script).ok().prints("1\n0\n1");
}

// items: R009 O011
#[test]
fn host_needs_consent() {
    let lab = Lab::new();
    let (script, namespace) = ("readlink /proc/self/ns/net", host_namespace());
    lab.build("FROM busybox\nRUN --network=host true\n", &[], &[]).exits(1).says("network.host");
    assert_eq!(lab.step("--network=host", script, &["--allow", "network.host"]).trim(), namespace);
    assert_eq!(lab.step("", script, &["--network=host"]).trim(), namespace);
    lab.sh("--network=host", script).ok().prints(namespace);
}

// items: R004 R012 O012
#[test]
fn names_are_added() {
    let lab = Lab::new();
    let printed =
        lab.step("--network=none", "cat /etc/hosts", &["--add-host=one:10.1.2.3", "--add-host=two=[fd00::1]"]);
    let has = |address: &str, name: &str| {
        printed.lines().any(|line| line.split_whitespace().collect::<Vec<_>>() == [address, name])
    };
    assert!(has("10.1.2.3", "one") && has("fd00::1", "two"), "{printed}");
    let step = "FROM busybox\nRUN grep up /etc/hosts\n";
    let gateway = "--add-host=up:host-gateway";
    lab.build(step, &[], &["--network=none", gateway]).exits(1).says("the host cannot be reached from this network");
    lab.build(step, &[], &["--network=host", gateway]).ok().says("127.0.0.1");
    lab.sh("--network=none --add-host one:10.1.2.3 --hostname boxed", "grep -c one /etc/hosts; hostname")
        .ok()
        .prints("1\nboxed");
}

#[test]
fn parallel_steps_have_different_addresses() {
    let lab = Lab::new();
    if !is_root() {
        return skip("a user-mode network gives each step the same address");
    }
    let step = |n: u32| {
        format!("FROM busybox AS s{n}\nRUN ip -4 -o addr | awk '!/127.0.0.1/ {{print $4}}' > /a; sleep 0.5; : {n}\n")
    };
    let dockerfile = format!("{}{}FROM scratch\nCOPY --from=s1 /a /1\nCOPY --from=s2 /a /2\n", step(1), step(2));
    let out = lab.files(&dockerfile, &[], &[]);
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    assert!(read("1").contains('.'), "{}", read("1"));
    assert_ne!(read("1"), read("2"));
}
