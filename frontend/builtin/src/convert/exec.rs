//! Ops that run a process.

use rbuild_graph::pb;
use serde_json::Value;

use super::fields::Object;

pub(super) fn exec(op: &pb::ExecOp) -> Value {
    let secret = |secret: &pb::SecretEnv| {
        Object::default().text("ID", &secret.id).text("name", &secret.name).flag("optional", secret.optional).value()
    };
    let device =
        |device: &pb::CdiDevice| Object::default().text("name", &device.name).flag("optional", device.optional).value();
    Object::default()
        .optional("meta", op.meta.as_ref().map(meta))
        .list("mounts", op.mounts.iter().map(mount))
        .choice("network", op.network, &["UNSET", "HOST", "NONE"])
        .choice("security", op.security, &["SANDBOX", "INSECURE"])
        .list("secretenv", op.secretenv.iter().map(secret))
        .list("cdiDevices", op.cdi_devices.iter().map(device))
        .value()
}

fn meta(meta: &pb::Meta) -> Value {
    let host = |host: &pb::HostIp| Object::default().text("Host", &host.host).text("IP", &host.ip).value();
    let ulimit = |limit: &pb::Ulimit| {
        Object::default().text("Name", &limit.name).long("Soft", limit.soft).long("Hard", limit.hard).value()
    };
    Object::default()
        .words("args", &meta.args)
        .words("env", &meta.env)
        .text("cwd", &meta.cwd)
        .text("user", &meta.user)
        .optional("proxyEnv", meta.proxy_env.as_ref().map(proxy))
        .list("extraHosts", meta.extra_hosts.iter().map(host))
        .text("hostname", &meta.hostname)
        .list("ulimit", meta.ulimit.iter().map(ulimit))
        .text("cgroupParent", &meta.cgroup_parent)
        .flag("removeMountStubsRecursive", meta.remove_mount_stubs_recursive)
        .list("validExitCodes", meta.valid_exit_codes.iter().map(|code| Value::from(*code)))
        .value()
}

fn proxy(proxy: &pb::ProxyEnv) -> Value {
    Object::default()
        .text("httpProxy", &proxy.http_proxy)
        .text("httpsProxy", &proxy.https_proxy)
        .text("ftpProxy", &proxy.ftp_proxy)
        .text("noProxy", &proxy.no_proxy)
        .text("allProxy", &proxy.all_proxy)
        .value()
}

fn mount(mount: &pb::Mount) -> Value {
    let tmpfs = mount.tmpfs_opt.as_ref().map(|tmpfs| Object::default().long("size", tmpfs.size).value());
    let cache = mount.cache_opt.as_ref().map(|cache| {
        let sharing = ["SHARED", "PRIVATE", "LOCKED"];
        Object::default().text("ID", &cache.id).choice("sharing", cache.sharing, &sharing).value()
    });
    let given = |id: &str, uid: u32, gid: u32, mode: u32, optional: bool| {
        let object = Object::default().text("ID", id).number("uid", uid).number("gid", gid).number("mode", mode);
        object.flag("optional", optional).value()
    };
    let secret = mount.secret_opt.as_ref().map(|one| given(&one.id, one.uid, one.gid, one.mode, one.optional));
    let ssh = mount.ssh_opt.as_ref().map(|one| given(&one.id, one.uid, one.gid, one.mode, one.optional));
    Object::default()
        .long("input", mount.input)
        .text("selector", &mount.selector)
        .text("dest", &mount.dest)
        .long("output", mount.output)
        .flag("readonly", mount.readonly)
        .choice("mountType", mount.mount_type, &["BIND", "SECRET", "SSH", "CACHE", "TMPFS"])
        .optional("TmpfsOpt", tmpfs)
        .optional("cacheOpt", cache)
        .optional("secretOpt", secret)
        .optional("SSHOpt", ssh)
        .text("resultID", &mount.result_id)
        .choice("contentCache", mount.content_cache, &["DEFAULT", "ON", "OFF"])
        .value()
}
