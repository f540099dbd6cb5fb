//! What is known of vertices besides what they do: names, limits, places.

use rbuild_graph::pb;
use serde_json::Value;

use super::fields::{Object, base64};

/// Returns what is known of a vertex, as Go writes it.
pub(super) fn known(known: &pb::OpMetadata) -> Value {
    let limits = |limits: &pb::LinuxResources| {
        let long = |number: i64| (number != 0).then_some(Value::from(number));
        let unsigned = |number: u64| (number != 0).then_some(Value::from(number));
        let object = Object::default()
            .optional("memory", long(limits.memory))
            .optional("memorySwap", long(limits.memory_swap))
            .optional("cpuShares", unsigned(limits.cpu_shares))
            .optional("cpuPeriod", unsigned(limits.cpu_period))
            .optional("cpuQuota", long(limits.cpu_quota));
        sets(object, limits)
    };
    Object::default()
        .flag("ignore_cache", known.ignore_cache)
        .texts("description", &known.description)
        .optional("export_cache", known.export_cache.as_ref().map(exported))
        .map("caps", known.caps.iter().map(|(cap, asked)| (cap.clone(), Value::Bool(*asked))))
        .optional("progress_group", known.progress_group.as_ref().map(group))
        .optional("linux_resources", known.linux_resources.as_ref().map(limits))
        .value()
}

/// The same, as protobuf writes it.
fn known_inside(known: &pb::OpMetadata) -> Value {
    let limits = |limits: &pb::LinuxResources| {
        let unsigned = |number: u64| (number != 0).then(|| Value::from(number.to_string()));
        let object = Object::default()
            .long("memory", limits.memory)
            .long("memorySwap", limits.memory_swap)
            .optional("cpuShares", unsigned(limits.cpu_shares))
            .optional("cpuPeriod", unsigned(limits.cpu_period))
            .long("cpuQuota", limits.cpu_quota);
        sets(object, limits)
    };
    Object::default()
        .flag("ignoreCache", known.ignore_cache)
        .texts("description", &known.description)
        .optional("exportCache", known.export_cache.as_ref().map(exported))
        .map("caps", known.caps.iter().map(|(cap, asked)| (cap.clone(), Value::Bool(*asked))))
        .optional("progressGroup", known.progress_group.as_ref().map(group))
        .optional("linuxResources", known.linux_resources.as_ref().map(limits))
        .value()
}

fn sets(object: Object, limits: &pb::LinuxResources) -> Value {
    object.text("cpusetCpus", &limits.cpuset_cpus).text("cpusetMems", &limits.cpuset_mems).value()
}

fn exported(exported: &pb::ExportCache) -> Value {
    Object::default().flag("Value", exported.value).value()
}

fn group(group: &pb::ProgressGroup) -> Value {
    Object::default().text("id", &group.id).text("name", &group.name).flag("weak", group.weak).value()
}

/// Returns a graph inside a message.
pub(super) fn definition(definition: &pb::Definition) -> Value {
    let known = definition.metadata.iter().map(|(digest, known)| (digest.clone(), known_inside(known)));
    Object::default()
        .list("def", definition.def.iter().map(|bytes| base64(bytes)))
        .map("metadata", known)
        .optional("Source", definition.source.as_deref().map(source))
        .value()
}

/// Returns files, and which vertices come from where in them.
pub(super) fn source(source: &pb::Source) -> Value {
    let places =
        |places: &pb::Locations| Object::default().list("locations", places.locations.iter().map(location)).value();
    let locations = source.locations.iter().map(|(digest, found)| (digest.clone(), places(found)));
    Object::default().map("locations", locations).list("infos", source.infos.iter().map(info)).value()
}

fn info(info: &pb::SourceInfo) -> Value {
    Object::default()
        .text("filename", &info.filename)
        .bytes("data", &info.data)
        .optional("definition", info.definition.as_ref().map(definition))
        .text("language", &info.language)
        .value()
}

fn location(location: &pb::Location) -> Value {
    let position =
        |at: pb::Position| Object::default().number("line", at.line).number("character", at.character).value();
    let range = |range: &pb::Range| {
        Object::default().optional("start", range.start.map(position)).optional("end", range.end.map(position)).value()
    };
    let ranges = location.ranges.iter().map(range);
    Object::default().number("sourceIndex", location.source_index).list("ranges", ranges).value()
}
