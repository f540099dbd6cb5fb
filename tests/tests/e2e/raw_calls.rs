//! Calls of any method with any bytes.

use bytes::{Buf, BufMut};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use prost::encoding::{WireType, encode_key, encode_varint};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// A method of the daemon.
#[derive(Debug)]
pub(crate) struct Method {
    service: &'static str,
    pub(crate) name: &'static str,
}

const CONTROL: &str = "moby.buildkit.v1.Control";
const BRIDGE: &str = "moby.buildkit.v1.frontend.LLBBridge";
const CONTENT: &str = "containerd.services.content.v1.Content";

const fn method(service: &'static str, name: &'static str) -> Method {
    Method { service, name }
}

/// All methods that take one message, but that by which a build ends and those that never do.
pub(crate) const METHODS: &[Method] = &[
    method(CONTROL, "DiskUsage"),
    method(CONTROL, "Prune"),
    method(CONTROL, "Solve"),
    method(CONTROL, "Status"),
    method(CONTROL, "ListWorkers"),
    method(CONTROL, "Info"),
    method(CONTROL, "ListenBuildHistory"),
    method(CONTROL, "UpdateBuildHistory"),
    method(CONTROL, "Unheardof"),
    method(BRIDGE, "ResolveImageConfig"),
    method(BRIDGE, "ResolveSourceMeta"),
    method(BRIDGE, "Solve"),
    method(BRIDGE, "ReadFile"),
    method(BRIDGE, "ReadDir"),
    method(BRIDGE, "StatFile"),
    method(BRIDGE, "Evaluate"),
    method(BRIDGE, "Ping"),
    method(BRIDGE, "Inputs"),
    method(BRIDGE, "NewContainer"),
    method(BRIDGE, "ReleaseContainer"),
    method(BRIDGE, "ExecProcess"),
    method(BRIDGE, "ReadFileContainer"),
    method(BRIDGE, "ReadDirContainer"),
    method(BRIDGE, "StatFileContainer"),
    method(BRIDGE, "Warn"),
    method(CONTENT, "Info"),
    method(CONTENT, "Update"),
    method(CONTENT, "List"),
    method(CONTENT, "Delete"),
    method(CONTENT, "Read"),
    method(CONTENT, "Status"),
    method(CONTENT, "ListStatuses"),
    method(CONTENT, "Write"),
    method(CONTENT, "Abort"),
    method("opentelemetry.proto.collector.trace.v1.TraceService", "Export"),
    method("grpc.health.v1.Health", "Check"),
    method("grpc.health.v1.Health", "List"),
    method("grpc.reflection.v1.ServerReflection", "ServerReflectionInfo"),
    method("sideways", "Unheardof"),
];

impl Method {
    pub(crate) fn is_control(&self) -> bool {
        self.service == CONTROL
    }

    /// Calls it on behalf of a build; returns the number of messages that were answered.
    pub(crate) async fn call(&self, channel: Channel, build: &str, message: Vec<u8>) -> Result<usize, Status> {
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.expect("the daemon is there");
        let path: PathAndQuery = format!("/{}/{}", self.service, self.name).parse().expect("a path");
        let mut request = Request::new(message);
        request.metadata_mut().insert("buildkit-controlapi-buildid", build.parse().expect("ASCII"));
        let mut answers = client.server_streaming(request, path, Raw).await?.into_inner();
        let mut count = 0;
        while answers.message().await?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}

/// Messages are bytes.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}

/// Returns random messages, the same at each call: fields of all numbers and types, nested, and some garbage.
pub(crate) fn messages(count: usize) -> Vec<Vec<u8>> {
    let mut runner = TestRunner::deterministic();
    let strategy = prop_oneof![9 => message(), 1 => prop::collection::vec(any::<u8>(), 0..200)];
    (0..count).map(|_| strategy.new_tree(&mut runner).expect("a message").current()).collect()
}

/// A message of fields. Texts have neither small letters nor digits, so that none of them is a name of an image.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        "[A-Z ./:@%=,~\\[\\]\\-\u{0}\u{7f}ä]{0,24}".prop_map(String::into_bytes),
        prop::sample::select(vec!["../../..", "/", "", "[[[", "==", "local://X", "docker-image://", "sideways://X"])
            .prop_map(|text| text.as_bytes().to_vec()),
        Just(vec![b'X'; 70_000]),
    ];
    let number = prop_oneof![0..4u64, Just(u64::MAX), Just(i64::MIN as u64), any::<u64>()];
    let field = prop_oneof![
        (1..24u32, text).prop_map(|(tag, text)| nested(tag, &text)),
        (1..24u32, number).prop_map(|(tag, number)| {
            let mut bytes = Vec::new();
            encode_key(tag, WireType::Varint, &mut bytes);
            encode_varint(number, &mut bytes);
            bytes
        }),
    ];
    let fields = prop::collection::vec(field, 0..6).prop_map(|fields| fields.concat());
    fields.prop_recursive(4, 60, 6, |inner| {
        let field = (1..24u32, inner).prop_map(|(tag, bytes)| nested(tag, &bytes));
        prop::collection::vec(field, 0..8).prop_map(|fields| fields.concat())
    })
}

fn nested(tag: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_key(tag, WireType::LengthDelimited, &mut bytes);
    encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}
