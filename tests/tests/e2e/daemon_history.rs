//! What the daemon remembers of builds, and what it keeps: records, logs, disk.

use rbuild_buildkit_api::content::ReadContentRequest;
use rbuild_buildkit_api::control::{
    BuildHistoryEvent, BuildHistoryEventType, BuildHistoryRecord, BuildHistoryRequest, DiskUsageRequest, InfoRequest,
    ListWorkersRequest, PruneRequest, StatusRequest, StatusResponse, UpdateBuildHistoryRequest, UsageRecord,
};
use rbuild_buildkit_api::services::content::content_client::ContentClient;
use tokio_stream::StreamExt;
use tonic::Status;

use crate::build_client::{Client, dockerfile, driven, session};
use crate::built::Progress;
use crate::daemon::Daemon;
use crate::lab::Lab;

/// Returns what is remembered of builds.
fn history(client: &Client, wanted: BuildHistoryRequest) -> Vec<BuildHistoryEvent> {
    let mut control = client.control();
    let request = BuildHistoryRequest { early_exit: true, ..wanted };
    client.run(async move {
        let events = control.listen_build_history(request).await.unwrap().into_inner();
        events.map(Result::unwrap).collect().await
    })
}

fn record(client: &Client, name: &str) -> Option<BuildHistoryRecord> {
    let wanted = BuildHistoryRequest { r#ref: name.to_owned(), ..BuildHistoryRequest::default() };
    let mut events = history(client, wanted);
    assert!(events.len() <= 1, "{events:?}");
    let event = events.pop()?;
    assert_eq!(event.r#type, i32::from(BuildHistoryEventType::Complete));
    event.record
}

fn update(client: &Client, request: UpdateBuildHistoryRequest) -> Result<(), Status> {
    let mut control = client.control();
    client.run(control.update_build_history(request)).map(|_| ())
}

fn usage(client: &Client) -> Vec<UsageRecord> {
    let mut control = client.control();
    client.run(control.disk_usage(DiskUsageRequest::default())).unwrap().into_inner().record
}

#[test]
fn builds_are_remembered_until_they_are_deleted() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let good = dockerfile(&[("label:a", "b")]);
    let name = good.r#ref.clone();
    client.build(session(&lab.context("FROM busybox\nRUN echo printed\n", &[])), good).ok();
    let kept = record(&client, &name).expect("it is there as soon as the build has ended");
    assert_eq!((kept.frontend.as_str(), kept.error.as_ref()), ("dockerfile.v0", None), "{kept:?}");
    assert_eq!(kept.frontend_attrs["label:a"], "b");
    assert!(kept.num_total_steps >= 1 && kept.num_total_steps == kept.num_completed_steps, "{kept:?}");
    assert!(kept.created_at.is_some() && kept.completed_at.is_some());
    let bad = dockerfile(&[]);
    let failed = bad.r#ref.clone();
    client.build(session(&lab.context("FROM busybox\nRUN exit 4\n", &[])), bad).fails("exit code: 4");
    let error = record(&client, &failed).expect("failures are remembered").error.expect("its error");
    assert!(error.message.contains("exit code: 4"), "{error:?}");
    let probe = rbuild_buildkit_api::control::SolveRequest { internal: true, ..driven() };
    let internal = probe.r#ref.clone();
    client
        .drive(probe, |_| async {
            Ok(rbuild_buildkit_api::gateway::ReturnRequest { result: Some(Default::default()), error: None })
        })
        .ok();
    assert_eq!(record(&client, &internal), None);
    let names = |client: &Client| {
        let events = history(client, BuildHistoryRequest::default());
        events.into_iter().filter_map(|event| event.record).map(|record| record.r#ref).collect::<Vec<_>>()
    };
    assert_eq!(names(&client).len(), 2);
    replayed(&client, &name);
    logged(&client, &kept);
    // Another daemon on the same store remembers, too.
    drop(client);
    daemon.stop();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    assert_eq!(record(&client, &name).as_ref(), Some(&kept));
    let change = |pinned, delete| UpdateBuildHistoryRequest { r#ref: name.clone(), pinned, delete, finalize: false };
    update(&client, change(true, false)).unwrap();
    assert!(record(&client, &name).unwrap().pinned);
    update(&client, change(false, true)).unwrap();
    assert_eq!(names(&client), [failed]);
    update(&client, change(false, true)).expect_err("it is deleted");
    update(&client, change(true, false)).expect_err("it is deleted");
    daemon.stop();
}

/// Status of a build that has ended says it all again.
fn replayed(client: &Client, name: &str) {
    let mut control = client.control();
    let progress = client.run(async move {
        let mut messages = control.status(StatusRequest { r#ref: name.to_owned() }).await.unwrap().into_inner();
        let mut progress = Progress::default();
        while let Some(message) = messages.message().await.unwrap() {
            progress.add(message);
        }
        progress
    });
    assert!(progress.logs.contains("printed"), "{progress:#?}");
    assert!(progress.vertex("RUN echo printed").completed.is_some());
}

/// The log is a blob: messages of the progress, each after its length.
fn logged(client: &Client, record: &BuildHistoryRecord) {
    let logs = record.logs.as_ref().expect("a log");
    let mut content = ContentClient::new(client.channel.clone());
    let request = ReadContentRequest { digest: logs.digest.clone(), ..ReadContentRequest::default() };
    let bytes = client.run(async move {
        let mut parts = content.read(request).await.unwrap().into_inner();
        let mut bytes = Vec::new();
        while let Some(part) = parts.message().await.unwrap() {
            bytes.extend_from_slice(&part.data);
        }
        bytes
    });
    assert_eq!(bytes.len() as i64, logs.size);
    let mut rest = &bytes[..];
    let mut progress = Progress::default();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (message, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        progress.add(<StatusResponse as prost::Message>::decode(message).unwrap());
        rest = after;
    }
    assert!(progress.logs.contains("printed"), "{progress:#?}");
}

#[test]
fn listeners_hear_of_builds_as_they_happen() {
    let lab = Lab::empty();
    let daemon = Daemon::start(&lab);
    let (client, listener) = (daemon.client(), daemon.client());
    let request = dockerfile(&[]);
    let wanted = BuildHistoryRequest { r#ref: request.r#ref.clone(), ..BuildHistoryRequest::default() };
    let mut control = listener.control();
    let mut events = listener.run(control.listen_build_history(wanted)).unwrap().into_inner();
    let name = request.r#ref.clone();
    client.build(session(&lab.context("FROM scratch\nCOPY a /\n", &[("a", "A")])), request).ok();
    update(&client, UpdateBuildHistoryRequest { r#ref: name, delete: true, ..Default::default() }).unwrap();
    let kinds = [(); 3].map(|()| listener.run(events.message()).unwrap().unwrap().r#type());
    use BuildHistoryEventType::{Complete, Deleted, Started};
    assert_eq!(kinds, [Started, Complete, Deleted]);
    // Listening does not hold the daemon's end up.
    daemon.stop();
}

#[test]
fn what_is_kept_is_told_and_given_up() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    assert_eq!(usage(&client), Vec::new(), "images of the command line are none of the cache");
    let context = lab.context("FROM busybox\nRUN head -c 3000000 /dev/zero > /zeros\n", &[]);
    client.build(session(&context), dockerfile(&[])).ok();
    let kept = usage(&client);
    assert!(kept.iter().any(|record| record.size >= 3_000_000 && record.description.contains("head -c")), "{kept:#?}");
    let mut control = client.control();
    let request = PruneRequest { all: true, ..PruneRequest::default() };
    let pruned: Vec<UsageRecord> = client.run(async move {
        let records = control.prune(request).await.unwrap().into_inner();
        records.map(Result::unwrap).collect().await
    });
    assert!(pruned.iter().map(|record| record.size).sum::<i64>() >= 3_000_000, "{pruned:#?}");
    assert_eq!(usage(&client), Vec::new());
    lab.say("run --rm --network=none busybox true").ok();
    let built = client.build(session(&context), dockerfile(&[])).ok();
    assert_eq!(built.progress.ran().len(), 1, "{built:#?}");
    daemon.stop();
}

#[test]
fn workers_and_version_are_told() {
    let lab = Lab::empty();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let mut control = client.control();
    let workers = client.run(control.list_workers(ListWorkersRequest::default())).unwrap().into_inner().record;
    assert_eq!(workers.len(), 1);
    assert!(!workers[0].id.is_empty() && !workers[0].platforms.is_empty(), "{workers:?}");
    let filter = vec![format!("id=={}", workers[0].id)];
    let found = client.run(control.list_workers(ListWorkersRequest { filter })).unwrap().into_inner().record;
    assert_eq!(found.len(), 1);
    let filter = vec!["id==absent".to_owned()];
    let found = client.run(control.list_workers(ListWorkersRequest { filter })).unwrap().into_inner().record;
    assert!(found.is_empty(), "{found:?}");
    let info = client.run(control.info(InfoRequest {})).unwrap().into_inner();
    assert!(info.buildkit_version.is_some_and(|version| !version.version.is_empty()));
    daemon.stop();
}
