//! Loading hostile definitions, building, encoding and printing.

use bytes::Bytes;
use prost::Message as _;
use rbuild_graph::{Builder, Definition, Graph, GraphError, Operand, Output, pb, source};

fn image(name: &str) -> pb::Op {
    let identifier = format!("{}{name}", source::DOCKER_IMAGE);
    op(pb::Kind::Source(pb::SourceOp { identifier, ..Default::default() }))
}

fn op(kind: pb::Kind) -> pb::Op {
    pb::Op { op: Some(kind), constraints: Some(pb::WorkerConstraints::default()), ..Default::default() }
}

fn root_mount() -> pb::Mount {
    pb::Mount { dest: "/".to_owned(), ..Default::default() }
}

fn exec(mounts: Vec<pb::Mount>) -> pb::Op {
    let meta = Some(pb::Meta { args: vec!["true".to_owned()], cwd: "/".to_owned(), ..Default::default() });
    op(pb::Kind::Exec(pb::ExecOp { meta, mounts, ..Default::default() }))
}

fn mkdir(input: i64, output: i64) -> pb::FileAction {
    let action = pb::Action::Mkdir(pb::FileActionMkDir {
        path: "/a".to_owned(),
        mode: 0o755,
        timestamp: -1,
        ..Default::default()
    });
    pb::FileAction { input, secondary_input: -1, output, action: Some(action) }
}

fn file(actions: Vec<pb::FileAction>) -> pb::Op {
    op(pb::Kind::File(pb::FileOp { actions }))
}

fn copy(input: i64, from: i64) -> pb::FileAction {
    let copy = pb::FileActionCopy {
        src: "/a".to_owned(),
        dest: "/b".to_owned(),
        mode: -1,
        timestamp: -1,
        ..Default::default()
    };
    pb::FileAction { input, secondary_input: from, output: 0, action: Some(pb::Action::Copy(copy)) }
}

/// Lists ops as they are, each upon the one before if `chain`, and names the last one as the result.
fn definition(ops: Vec<pb::Op>, index: i64, chain: bool) -> Definition {
    let mut definition = Definition::default();
    let mut last: Option<Bytes> = None;
    for mut op in ops {
        if chain {
            op.inputs = last.iter().map(|bytes| input(bytes, 0)).collect();
        }
        let bytes = Bytes::from(op.encode_to_vec());
        definition.ops.push(bytes.clone());
        last = Some(bytes);
    }
    let inputs = last.iter().map(|bytes| input(bytes, index)).collect();
    definition.ops.push(pb::Op { inputs, ..Default::default() }.encode_to_vec().into());
    definition
}

fn input(bytes: &[u8], index: i64) -> pb::Input {
    pb::Input { digest: rbuild_oci::Digest::of(bytes).to_string(), index }
}

/// Loads an op upon an image and expects what the error says.
fn check(op: pb::Op, expect: &str) {
    let loaded = Graph::load(&definition(vec![image("a"), op.clone()], 0, true));
    match loaded {
        Ok(_) => assert_eq!(expect, "", "{op:?} was accepted"),
        Err(error) => assert!(!expect.is_empty() && error.to_string().contains(expect), "{op:?}: {error}"),
    }
}

#[test]
fn x90_hostile_ops_are_refused() {
    check(exec(vec![root_mount()]), "");
    check(pb::Op::default(), "no kind of op is set");
    check(exec(vec![]), "without a root file system");
    check(exec(vec![root_mount(), root_mount()]), "2 root file systems");
    check(exec(vec![pb::Mount { input: 1, ..root_mount() }]), "index 1 is not one of 1 inputs");
    check(exec(vec![pb::Mount { input: -2, ..root_mount() }]), "index -2");
    check(exec(vec![pb::Mount { input: i64::MAX, ..root_mount() }]), "is not one of");
    check(exec(vec![pb::Mount { output: 7, ..root_mount() }]), "invalid output index 7");
    check(exec(vec![pb::Mount { output: i64::MIN, ..root_mount() }]), "invalid output index");
    check(exec(vec![pb::Mount { mount_type: 99, ..root_mount() }]), "invalid mount type 99");
    check(exec(vec![pb::Mount { mount_type: 4, ..root_mount() }]), "invalid mount type Tmpfs for /");
    check(exec(vec![pb::Mount { selector: "/sub".to_owned(), ..root_mount() }]), "cannot be the root file system");
    let content = |output, readonly, selector: &str| {
        let bind = pb::Mount { dest: "/x".to_owned(), selector: selector.to_owned(), output, readonly, ..root_mount() };
        exec(vec![root_mount(), pb::Mount { content_cache: pb::MountContentCache::On as i32, ..bind }])
    };
    check(content(-1, false, "/a"), "");
    check(content(1, true, "/a"), "");
    check(content(1, false, "/./"), "");
    check(content(1, false, "/a"), "invalid mount cache content");
    for kind in [pb::MountType::Secret, pb::MountType::Ssh, pb::MountType::Cache] {
        let bare = pb::Mount { dest: "/x".to_owned(), input: -1, mount_type: kind as i32, ..Default::default() };
        check(exec(vec![root_mount(), bare]), "lacks the options of its type");
    }
    let mut bad = exec(vec![root_mount()]);
    if let Some(pb::Kind::Exec(exec)) = &mut bad.op {
        exec.network = -5;
    }
    check(bad, "invalid network mode -5");
    check(op(pb::Kind::Exec(pb::ExecOp { mounts: vec![root_mount()], ..Default::default() })), "without a process");
    check(file(vec![]), "without actions");
    check(file(vec![pb::FileAction { action: None, ..mkdir(0, 0) }]), "no kind of action is set");
    check(file(vec![mkdir(0, 0)]), "");
    check(file(vec![mkdir(0, -1), mkdir(1, 0)]), "");
    check(file(vec![mkdir(1, 0)]), "neither an input nor an earlier action");
    check(file(vec![mkdir(-9, 0)]), "negative index");
    check(file(vec![mkdir(0, 0), mkdir(0, 0)]), "written twice");
    check(file(vec![mkdir(0, 0), mkdir(0, 2)]), "invalid output index 2");
    check(file(vec![mkdir(0, 1), mkdir(0, -1)]), "outputs leave a gap");
    check(file(vec![copy(0, 0)]), "");
    check(file(vec![copy(0, 4)]), "neither an input nor an earlier action");
    check(op(pb::Kind::Merge(pb::MergeOp::default())), "merge op without inputs");
    check(op(pb::Kind::Merge(pb::MergeOp { inputs: vec![pb::MergeInput { input: 3 }] })), "is not one of");
    check(op(pb::Kind::Diff(pb::DiffOp { lower: None, upper: Some(pb::DiffInput { input: 0 }) })), "two sides");
    check(op(pb::Kind::Passthrough(pb::PassthroughOp { id: "p".to_owned(), outputs: vec![-1] })), "is not one of");
    check(image("b"), "source op with 1 inputs");
}

#[test]
fn x90_named_owner_needs_a_valid_input() {
    let owner = |input| {
        let user = pb::UserOpt { user: Some(pb::User::ByName(pb::NamedUserOpt { name: "app".to_owned(), input })) };
        let mut action = copy(0, 0);
        if let Some(pb::Action::Copy(copy)) = &mut action.action {
            copy.owner = Some(pb::ChownOpt { user: Some(user), group: None });
        }
        file(vec![action])
    };
    check(owner(0), "");
    check(owner(5), "neither an input nor an earlier action");
    check(owner(-3), "negative index");
}

#[test]
fn x90_hostile_definitions_are_refused() {
    let load = |definition: &Definition| Graph::load(definition).unwrap_err();
    let missing = definition(vec![image("a")], 3, true);
    assert!(matches!(load(&missing), GraphError::MissingOutput { index: 3, .. }));
    let negative = definition(vec![image("a")], -1, true);
    assert!(matches!(load(&negative), GraphError::MissingOutput { index: -1, .. }));

    let mut nowhere = definition(vec![image("a"), exec(vec![root_mount()])], 0, true);
    nowhere.ops.remove(0);
    assert!(matches!(load(&nowhere), GraphError::MissingInput { .. }));
    let mut garbage = definition(vec![image("a")], 0, true);
    garbage.ops.insert(0, Bytes::from_static(b"\xff\xff\xff"));
    assert!(matches!(load(&garbage), GraphError::Op { index: 0, .. }));
    let headless = Definition { ops: vec![image("a").encode_to_vec().into()], ..Default::default() };
    assert_eq!(load(&headless), GraphError::Result);
    let many = Definition { ops: vec![Bytes::new(); rbuild_graph::MAX_VERTICES + 2], ..Default::default() };
    assert!(matches!(load(&many), GraphError::TooMany { .. }));
    let metadata = [("nonsense".to_owned(), pb::OpMetadata::default())].into();
    let keyed = pb::Definition { metadata, ..Default::default() };
    assert_eq!(Definition::from_pb(keyed), Err(GraphError::Key("nonsense".to_owned())));
}

#[test]
fn x90_deep_chain_needs_no_stack() {
    let ops = std::iter::once(image("a")).chain((0..100_000).map(|_| exec(vec![root_mount()])));
    let mut deep = definition(ops.collect(), 0, true);
    let head = deep.ops.len() - 1;
    deep.ops[..head].reverse();
    let graph = Graph::load(&deep).unwrap();
    assert_eq!(graph.vertices().len(), 100_001);
}

#[test]
fn twice_listed_and_unused_ops_are_one() {
    let twice = definition(vec![image("a"), image("b"), image("a")], 0, false);
    let graph = Graph::load(&twice).unwrap();
    assert_eq!(graph.vertices().len(), 2);
    let root = graph.root().unwrap();
    assert_eq!(graph.vertex(&root.vertex).unwrap().name, "docker-image://a");
}

#[test]
fn empty_definition_is_scratch() {
    let graph = Graph::load(&Definition::default()).unwrap();
    assert_eq!(graph.root(), None);
    assert_eq!(Builder::new().finish(None, Vec::new()), Definition::default());
}

fn example() -> (Builder, Output) {
    let mut builder = Builder::new();
    let context = builder.reserve();
    let name = |name: &str| pb::OpMetadata {
        description: [(rbuild_graph::description::CUSTOM_NAME.to_owned(), name.to_owned())].into(),
        ..Default::default()
    };
    let base = builder.add(image("a"), vec![], &name("base"), &[]).output(0);
    let copied = builder.add(file(vec![copy(0, 1)]), vec![base, context.output(0)], &name("copy"), &[]).output(0);
    let again =
        builder.add(file(vec![copy(0, 1)]), vec![base, context.output(0)], &pb::OpMetadata::default(), &[]).output(0);
    assert_eq!(copied, again, "equal ops are one node");
    let ran = builder.add(exec(vec![root_mount()]), vec![copied], &name("run"), &[]).output(0);
    builder.add(image("unused"), vec![], &pb::OpMetadata::default(), &[]);
    let identifier = format!("{}context", source::LOCAL);
    builder.fill(context, pb::SourceOp { identifier, ..Default::default() }, &name("context"));
    assert!(builder.needs(ran, &[context]) && !builder.needs(base, &[context]));
    (builder, ran)
}

#[test]
fn builder_makes_what_load_accepts() {
    let (builder, root) = example();
    let definition = builder.finish(Some(root), Vec::new());
    let again = Definition::decode(definition.encode()).unwrap();
    assert_eq!(again, definition);
    assert_eq!(definition.encode(), example().0.finish(Some(root), Vec::new()).encode(), "same ops, same bytes");
    let graph = Graph::load(&again).unwrap();
    let names: Vec<_> = graph.vertices().iter().map(|vertex| vertex.name.as_str()).collect();
    assert_eq!(names, ["base", "context", "copy", "run"]);
    assert!(
        graph.to_text().ends_with("#4 run\n  exec [\"true\"]\n    cwd /\n    mount / bind #3 output=0\nresult #4\n"),
        "{}",
        graph.to_text()
    );
}

#[test]
fn one_definition_of_several_results() {
    let mut builder = Builder::new();
    let base = builder.add(image("a"), vec![], &pb::OpMetadata::default(), &[]).output(0);
    let other = builder.add(image("b"), vec![], &pb::OpMetadata::default(), &[]).output(0);
    let (definition, edges) = builder.finish_all(&[Some(base), Some(other), None], Vec::new());
    let graph = Graph::load(&definition).unwrap();
    assert_eq!(graph.vertices().len(), 2);
    let name = |edge: Option<rbuild_graph::Edge>| graph.vertex(&edge.unwrap().vertex).unwrap().name.clone();
    assert_eq!([name(edges[0]), name(edges[1])], ["docker-image://a", "docker-image://b"]);
    assert_eq!((edges[2], graph.root()), (None, edges[1]));
    assert_eq!(builder.finish_all(&[None], Vec::new()), (Definition::default(), vec![None]));
}

#[test]
fn imported_graphs_keep_their_bytes_and_places() {
    // As another encoder may write it: the platform after what the op does.
    let mut foreign = image("a").encode_to_vec();
    foreign.extend_from_slice(b"\x52\x07\x0a\x05amd64");
    let bytes = Bytes::from(foreign);
    let result = pb::Op { inputs: vec![input(&bytes, 0)], ..Default::default() };
    let info = |name: &str| pb::SourceInfo { filename: name.to_owned(), ..Default::default() };
    let place = |index: i32| pb::Location { source_index: index, ranges: Vec::new() };
    let locations = |index: i32| {
        let digest = rbuild_oci::Digest::of(&bytes).to_string();
        [(digest, pb::Locations { locations: vec![place(index)] })].into()
    };
    let mut theirs = Definition { ops: vec![bytes.clone(), result.encode_to_vec().into()], ..Default::default() };
    theirs.source = Some(pb::Source { locations: locations(1), infos: vec![info("x"), info("theirs")] });

    let mut builder = Builder::new();
    let first = builder.import(&theirs).unwrap().unwrap();
    assert_eq!(builder.import(&theirs).unwrap().unwrap(), first, "the same vertex is one");
    let ran = builder.add(exec(vec![root_mount()]), vec![first], &pb::OpMetadata::default(), &[place(0)]).output(0);
    let definition = builder.finish(Some(ran), vec![info("ours")]);
    assert_eq!(definition.ops[0], bytes);
    let graph = Graph::load(&definition).unwrap();
    assert_eq!(graph.vertices().len(), 2);
    let files: Vec<_> = graph
        .vertices()
        .iter()
        .map(|vertex| {
            let index = vertex.locations[0].source_index as usize;
            graph.source().unwrap().infos[index].filename.clone()
        })
        .collect();
    assert_eq!(files, ["theirs", "ours"]);
    let told: Vec<_> = graph.source().unwrap().infos.iter().map(|info| info.filename.as_str()).collect();
    assert_eq!(told, ["ours", "x", "theirs"], "a file of two graphs is told once");

    assert_eq!(builder.import(&Definition::default()).unwrap(), None);
    theirs.source.as_mut().unwrap().locations = locations(2);
    assert!(builder.import(&theirs).unwrap_err().to_string().contains("its place is in file 2"));
    theirs.ops.pop();
    assert!(builder.import(&theirs).is_err());
}

/// The bytes that BuildKit's client makes of the same ops: a change of these is a change of every digest that
/// both show. What an op does comes last, as Go's encoder has it.
#[test]
fn bytes_are_those_of_the_protocol() {
    let mut op = image("x");
    op.platform = Some(pb::Platform { architecture: "amd64".to_owned(), os: "linux".to_owned(), ..Default::default() });
    let mut expect = b"\x52\x0e\x0a\x05amd64\x12\x05linux\x5a\x00\x1a\x12\x0a\x10docker-image://x".to_vec();
    assert_eq!(op.to_bytes(), expect);
    let mut builder = Builder::new();
    let output = builder.add(op, vec![], &pb::OpMetadata::default(), &[]).output(0);
    assert_eq!(builder.finish(Some(output), Vec::new()).ops[0], expect);
    let mount = pb::Mount { input: -1, output: -1, dest: "/".to_owned(), ..Default::default() };
    expect =
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x1a\x01/\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01".to_vec();
    assert_eq!(mount.encode_to_vec(), expect);
}

#[test]
fn operands() {
    assert_eq!(Operand::of(-1, 2), Operand::Scratch);
    assert_eq!(Operand::of(1, 2), Operand::Input(1));
    assert_eq!(Operand::of(3, 2), Operand::Action(1));
}

/// A definition of an image that asks for a capability, and a step upon it.
fn asking(cap: &str) -> Definition {
    let mut asking = definition(vec![image("a"), exec(vec![root_mount()])], 0, true);
    let caps = [(cap.to_owned(), true)].into();
    let digest = rbuild_oci::Digest::of(&asking.ops[0]);
    asking.metadata.insert(digest, pb::OpMetadata { caps, ..Default::default() });
    asking
}

#[test]
fn t22_capabilities_are_checked_upon_loading() {
    let error = |cap: &str| Graph::load(&asking(cap)).map(|_| ()).map_err(|error| error.to_string());
    assert_eq!(error("source.image"), Ok(()));
    assert_eq!(error("exec.teleport"), Err("unknown API capability exec.teleport".to_owned()));
    assert!(error("exec.meta.network.proxy").unwrap_err().contains("is not supported by build server"));
    let announced = rbuild_graph::capabilities();
    assert!(announced.iter().any(|capability| capability.id == "mergeop" && capability.enabled));
}

#[test]
fn entitlements_are_asked_for_by_steps() {
    let check = |change: fn(&mut pb::ExecOp), granted, expect: &str| {
        let mut op = exec(vec![root_mount()]);
        if let Some(pb::Kind::Exec(exec)) = &mut op.op {
            change(exec);
        }
        let graph = Graph::load(&definition(vec![image("a"), op], 0, true)).unwrap();
        let checked = graph.check_entitlements(granted);
        assert_eq!(checked.err().map(|error| error.to_string()).unwrap_or_default(), expect);
    };
    let none = rbuild_graph::Entitlements::default();
    let all = rbuild_graph::Entitlements { network_host: true, security_insecure: true };
    check(|_| {}, none, "");
    check(|exec| exec.network = 1, none, "network.host is not allowed");
    check(|exec| exec.security = 1, none, "security.insecure is not allowed");
    check(|exec| (exec.security, exec.network) = (1, 1), all, "");
}

/// A change of a source changes the digests of what depends on it, and nothing else (T1).
#[test]
fn t1_other_sources_for_a_graph() {
    let (builder, root) = example();
    let before = Graph::load(&builder.finish(Some(root), Vec::new())).unwrap();
    let image_to = |to: &'static str| {
        before.with_sources(|source| {
            let identifier = format!("{}{to}", source::DOCKER_IMAGE);
            let same = source.identifier == identifier || !source.identifier.starts_with(source::DOCKER_IMAGE);
            let changed = pb::SourceOp { identifier, ..source.clone() };
            Ok::<_, GraphError>(Some(changed).filter(|_| !same))
        })
    };
    assert_eq!(image_to("a").unwrap(), before);
    let after = image_to("b").unwrap();
    let digests = |graph: &Graph| graph.vertices().iter().map(|vertex| vertex.digest).collect::<Vec<_>>();
    let same: Vec<_> = digests(&before).into_iter().zip(digests(&after)).map(|(one, other)| one == other).collect();
    assert_eq!(same, [false, true, false, false], "base, context, copy, run");
    assert!(after.vertices().iter().all(|vertex| rbuild_oci::Digest::of(&vertex.bytes) == vertex.digest));
    assert_eq!(after.root().map(|edge| edge.vertex), digests(&after).last().copied());
    assert_eq!(after.vertices()[3].name, "run");
    // The result is what a client would have sent.
    let ops = after.vertices().iter().map(|vertex| vertex.bytes.clone());
    let last = input(&after.vertices()[3].bytes, 0);
    let last = pb::Op { inputs: vec![last], ..Default::default() }.to_bytes().into();
    let sent = Definition { ops: ops.chain([last]).collect(), ..Default::default() };
    assert_eq!(digests(&Graph::load(&sent).unwrap()), digests(&after));
}

#[test]
fn sources_that_become_one_are_one_vertex() {
    let merge =
        op(pb::Kind::Merge(pb::MergeOp { inputs: vec![pb::MergeInput { input: 0 }, pb::MergeInput { input: 1 }] }));
    let (one, other) = (Bytes::from(image("a").to_bytes()), Bytes::from(image("b").to_bytes()));
    let merge = Bytes::from(pb::Op { inputs: vec![input(&one, 0), input(&other, 0)], ..merge }.to_bytes());
    let last = pb::Op { inputs: vec![input(&merge, 0)], ..Default::default() }.to_bytes().into();
    let graph = Graph::load(&Definition { ops: vec![one, other, merge, last], ..Default::default() }).unwrap();
    let to_b = |source: &pb::SourceOp| {
        let changed = pb::SourceOp { identifier: "docker-image://b".to_owned(), ..source.clone() };
        Ok::<_, GraphError>(Some(changed).filter(|changed| changed.identifier != source.identifier))
    };
    let graph = graph.with_sources(to_b).unwrap();
    assert_eq!(graph.vertices().len(), 2);
    let inputs = &graph.vertices()[1].inputs;
    assert_eq!(inputs[0], inputs[1]);
}
