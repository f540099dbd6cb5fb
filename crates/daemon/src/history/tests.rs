use futures::FutureExt;
use prost::Message;
use rbuild_buildkit_api::control::{BuildResultInfo, Descriptor, StatusResponse, Vertex, VertexLog, VertexWarning};
use rbuild_buildkit_api::rpc;
use rbuild_oci::Digest;

use super::*;

struct House {
    _directory: tempfile::TempDir,
    store: Store,
    history: History,
}

fn house(limits: HistoryLimits) -> House {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    let history = History::open(&store, limits).unwrap();
    House { _directory: directory, store, history }
}

fn named(name: &str) -> BuildHistoryRecord {
    BuildHistoryRecord { r#ref: name.to_owned(), frontend: "dockerfile.v0".to_owned(), ..Default::default() }
}

fn status(digest: &str, cached: bool, log: &str) -> StatusResponse {
    let completed = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
    StatusResponse {
        vertexes: vec![Vertex { digest: digest.to_owned(), cached, completed, ..Default::default() }],
        logs: vec![VertexLog { vertex: digest.to_owned(), msg: log.to_owned().into(), ..Default::default() }],
        ..Default::default()
    }
}

fn build(history: &History, name: &str) -> BuildHistoryRecord {
    let mut recording = history.begin(named(name)).unwrap();
    recording.push(&status("sha256:1", false, name)).unwrap();
    recording.finish(Outcome::default()).unwrap()
}

/// Returns what is there at once: the kind of each event and the name in it.
fn heard(events: &mut Events) -> Vec<(BuildHistoryEventType, String)> {
    let mut heard = Vec::new();
    while let Some(Some(event)) = events.next().now_or_never() {
        let event = event.unwrap();
        heard.push((event.r#type(), event.record.unwrap().r#ref));
    }
    heard
}

fn request(reference: &str) -> BuildHistoryRequest {
    BuildHistoryRequest { r#ref: reference.to_owned(), ..Default::default() }
}

#[test]
fn a_finished_build_can_be_said_again() {
    let house = house(HistoryLimits::default());
    let mut recording = house.history.begin(named("b")).unwrap();
    assert!(house.history.is_running("b"));
    let said = [status("sha256:1", true, "one"), status("sha256:2", false, "two"), status("sha256:2", false, "")];
    for status in &said {
        recording.push(status).unwrap();
    }
    recording
        .push(&StatusResponse { warnings: vec![VertexWarning::default(); 3], ..StatusResponse::default() })
        .unwrap();
    let record = recording.finish(Outcome::default()).unwrap();
    assert_eq!((record.num_total_steps, record.num_cached_steps, record.num_completed_steps), (2, 1, 2));
    assert_eq!(record.num_warnings, 3);
    assert_eq!(record.logs.as_ref().unwrap().media_type, "application/vnd.buildkit.status.v0");
    assert!(!house.history.is_running("b"));
    assert_eq!(house.history.get("b").unwrap(), Some(record));
    let replayed: Vec<_> = house.history.replay("b").unwrap().unwrap().map(Result::unwrap).collect();
    assert_eq!(replayed[..3], said);
    assert_eq!(replayed.len(), 4);
    assert!(house.history.replay("other").unwrap().is_none());
}

#[test]
fn the_log_is_as_clients_read_it() {
    let house = house(HistoryLimits::default());
    let record = build(&house.history, "b");
    let digest: Digest = record.logs.unwrap().digest.parse().unwrap();
    let bytes = house.store.blobs().read(&digest, 1 << 20).unwrap();
    let message = status("sha256:1", false, "b").encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_le_bytes();
    assert_eq!(bytes, [length.as_slice(), &message].concat());
}

#[test]
fn errors_keep_their_details_apart() {
    let house = house(HistoryLimits::default());
    let recording = house.history.begin(named("b")).unwrap();
    let details = vec![prost_types::Any { type_url: "x".to_owned(), value: vec![1] }];
    let error = rpc::Status { code: 2, message: "exit code: 7".to_owned(), details };
    let record = recording.finish(Outcome { error: Some(error.clone()), ..Outcome::default() }).unwrap();
    assert_eq!(record.error.unwrap().details, []);
    let digest: Digest = record.external_error.unwrap().digest.parse().unwrap();
    let bytes = house.store.blobs().read(&digest, 1 << 20).unwrap();
    assert_eq!(rpc::Status::decode(bytes.as_slice()).unwrap(), error);
}

#[test]
fn blobs_stay_as_long_as_the_record() {
    let house = house(HistoryLimits::default());
    let session = house.store.session();
    let config = session.blobs().put(b"{}").unwrap();
    let layer = session.blobs().put(b"a layer").unwrap();
    let proof = session.blobs().put(b"a proof").unwrap();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":7}},{{"mediaType":"application/vnd.in-toto+json","digest":"{proof}","size":7}}]}}"#
    );
    let recording = house.history.begin(named("b")).unwrap();
    let result = recording.attach("application/vnd.oci.image.manifest.v1+json", manifest.as_bytes()).unwrap();
    let attestation = recording.attach("application/vnd.in-toto+json", b"attestation").unwrap();
    let info = BuildResultInfo {
        results: BTreeMap::from([(0, result.clone())]),
        attestations: vec![attestation.clone()],
        ..Default::default()
    };
    recording.finish(Outcome { result: Some(info), ..Outcome::default() }).unwrap();
    drop(session);
    house.store.collect().unwrap();
    let has = |digest: &Digest| house.store.blobs().has(digest).unwrap();
    let parse = |descriptor: &Descriptor| descriptor.digest.parse::<Digest>().unwrap();
    assert!(has(&parse(&result)) && has(&parse(&attestation)) && has(&config) && has(&proof));
    assert!(!has(&layer), "layers are not the history's");
    // What is attached, what the result names, the log and the trace.
    assert_eq!(house.store.blobs().pinned(OWNER).unwrap().len(), 6);
    let delete = UpdateBuildHistoryRequest { r#ref: "b".to_owned(), delete: true, ..Default::default() };
    house.history.update(&delete).unwrap();
    assert!(house.store.blobs().list().unwrap().is_empty());
    assert_eq!(Status::from(house.history.update(&delete).unwrap_err()).code(), tonic::Code::NotFound);
}

#[test]
fn listeners_hear_what_runs_has_run_and_happens() {
    use BuildHistoryEventType::{Complete, Deleted, Started};
    let house = house(HistoryLimits::default());
    build(&house.history, "old");
    let running = house.history.begin(named("now")).unwrap();
    let stop = CancellationToken::new();
    let listen = |request: &BuildHistoryRequest| house.history.listen(request, stop.clone()).unwrap();
    let event = |kind, name: &str| (kind, name.to_owned());
    let mut all = listen(&BuildHistoryRequest::default());
    assert_eq!(heard(&mut all), [event(Started, "now"), event(Complete, "old")]);
    let mut active = listen(&BuildHistoryRequest { active_only: true, early_exit: true, ..Default::default() });
    assert_eq!(heard(&mut active), [event(Started, "now")]);
    assert!(active.next().now_or_never().unwrap().is_none(), "it ends early");
    let mut one = listen(&request("now"));
    assert_eq!(heard(&mut one), [event(Started, "now")]);
    running.finish(Outcome::default()).unwrap();
    build(&house.history, "new");
    assert_eq!(heard(&mut one), [event(Complete, "now")]);
    assert_eq!(heard(&mut all), [event(Complete, "now"), event(Started, "new"), event(Complete, "new")]);
    let pin = UpdateBuildHistoryRequest { r#ref: "new".to_owned(), pinned: true, ..Default::default() };
    house.history.update(&pin).unwrap();
    let record = house.history.get("new").unwrap().unwrap();
    assert_eq!((record.pinned, record.generation), (true, 1));
    house.history.update(&UpdateBuildHistoryRequest { delete: true, ..pin }).unwrap();
    assert_eq!(heard(&mut all), [event(Complete, "new"), event(Deleted, "new")]);
    stop.cancel();
    assert!(all.next().now_or_never().unwrap().is_none(), "it ends with the daemon");
}

#[test]
fn a_build_that_is_given_up_is_forgotten() {
    let house = house(HistoryLimits::default());
    let mut events = house.history.listen(&BuildHistoryRequest::default(), CancellationToken::new()).unwrap();
    let recording = house.history.begin(named("b")).unwrap();
    let again = house.history.begin(named("b")).unwrap_err();
    assert_eq!(Status::from(again).code(), tonic::Code::AlreadyExists);
    assert!(house.history.is_running("b"), "the second attempt does not end the first");
    drop(recording);
    assert!(!house.history.is_running("b"));
    assert!(house.history.get("b").unwrap().is_none());
    let kinds: Vec<_> = heard(&mut events).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [BuildHistoryEventType::Started, BuildHistoryEventType::Deleted]);
    for name in [String::new(), "x".repeat(257)] {
        assert!(house.history.begin(named(&name)).is_err());
    }
}

#[test]
fn old_records_go_when_there_are_many() {
    let limits = HistoryLimits { max_age: Duration::from_secs(3600), max_entries: 2 };
    let house = house(limits);
    for name in ["a", "b", "c", "d"] {
        build(&house.history, name);
    }
    let pin = UpdateBuildHistoryRequest { r#ref: "a".to_owned(), pinned: true, ..Default::default() };
    house.history.update(&pin).unwrap();
    assert_eq!(house.history.sweep(SystemTime::now()).unwrap(), 0, "all are young");
    assert_eq!(house.history.sweep(SystemTime::now() + Duration::from_secs(7200)).unwrap(), 1);
    let names: String = house.history.list().unwrap().into_iter().map(|record| record.r#ref).collect();
    assert_eq!(names, "acd");
}

#[test]
fn the_history_outlives_the_daemon() {
    let house = house(HistoryLimits::default());
    let record = build(&house.history, "b");
    let again = History::open(&Store::open(house.store.root()).unwrap(), HistoryLimits::default()).unwrap();
    assert_eq!(again.get("b").unwrap(), Some(record));
}

#[test]
fn hostile_requests_are_refused() {
    let house = house(HistoryLimits::default());
    let stop = CancellationToken::new();
    for request in [
        BuildHistoryRequest { limit: -1, ..Default::default() },
        BuildHistoryRequest { filter: vec!["x".to_owned()], ..Default::default() },
    ] {
        let error = house.history.listen(&request, stop.clone()).err().unwrap();
        assert_eq!(Status::from(error).code(), tonic::Code::InvalidArgument);
    }
    let pin = UpdateBuildHistoryRequest { r#ref: "none".to_owned(), pinned: true, ..Default::default() };
    assert!(matches!(house.history.update(&pin), Err(HistoryError::Unknown(_))));
}
