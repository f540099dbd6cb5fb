//! What became of a build, as its client was told.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use rbuild_buildkit_api::control::{StatusResponse, Vertex};
use rbuild_buildkit_api::rpc;
use serde_json::Value;
use tonic::Status;

/// What was told of a build while it ran.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// What was said last of each vertex.
    pub(crate) vertices: BTreeMap<String, Vertex>,
    pub(crate) logs: String,
    /// The short form of each warning.
    pub(crate) warnings: Vec<String>,
    /// How far each piece of work went, by its name.
    pub(crate) work: BTreeMap<String, i64>,
}

impl Progress {
    pub(crate) fn add(&mut self, message: StatusResponse) {
        for vertex in message.vertexes {
            self.vertices.insert(vertex.digest.clone(), vertex);
        }
        for log in message.logs {
            self.logs.push_str(&String::from_utf8_lossy(&log.msg));
        }
        self.warnings
            .extend(message.warnings.iter().map(|warning| String::from_utf8_lossy(&warning.short).into_owned()));
        self.work.extend(message.statuses.into_iter().map(|status| (status.id, status.current)));
    }

    /// Returns the vertex whose name has this text.
    #[track_caller]
    pub(crate) fn vertex(&self, text: &str) -> &Vertex {
        let found = self.vertices.values().find(|vertex| vertex.name.contains(text));
        found.unwrap_or_else(|| panic!("no vertex `{text}`: {self:#?}"))
    }

    /// Returns the names of the Dockerfile's steps that were not in the cache.
    pub(crate) fn ran(&self) -> Vec<&str> {
        let steps = self.vertices.values().filter(|vertex| vertex.name.starts_with('['));
        let steps = steps.filter(|vertex| !vertex.name.starts_with("[internal]") && !vertex.name.contains("FROM"));
        steps.filter(|vertex| !vertex.cached).map(|vertex| vertex.name.as_str()).collect()
    }
}

/// What became of a build.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) result: Result<BTreeMap<String, String>, Status>,
    pub(crate) progress: Progress,
}

impl Built {
    /// It must have succeeded; every vertex that began has ended.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert!(self.result.is_ok(), "{self:#?}");
        let open: Vec<_> = self.progress.vertices.values().filter(|vertex| vertex.started.is_some()).collect();
        assert!(open.iter().all(|vertex| vertex.completed.is_some()), "{open:#?}");
        self
    }

    /// It must have failed so.
    #[track_caller]
    pub(crate) fn fails(self, message: &str) -> Status {
        let status = self.result.expect_err("the build fails");
        assert!(status.message().contains(message), "`{message}` is not said: {status:?}");
        status
    }

    /// What steps print must have this text.
    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert!(self.progress.logs.contains(text), "`{text}` is not printed: {self:#?}");
        self
    }

    /// Returns what the daemon tells of the result.
    #[track_caller]
    pub(crate) fn told(&self, key: &str) -> &str {
        let told = self.result.as_ref().expect("the build succeeds");
        told.get(key).unwrap_or_else(|| panic!("`{key}` is not told: {told:?}"))
    }
}

/// The details of an error of one of BuildKit's types, which are JSON.
pub(crate) fn details(status: &Status, kind: &str) -> Vec<Value> {
    let error = rpc::Status::decode(status.details()).expect("details of an error are its message again");
    assert_eq!((error.code, error.message.as_str()), (status.code() as i32, status.message()));
    let url = format!("github.com/moby/buildkit/{kind}+json");
    let wanted = error.details.iter().filter(|detail| detail.type_url == url);
    wanted.map(|detail| serde_json::from_slice(&detail.value).expect("details are JSON")).collect()
}

/// Returns text that is in base64.
pub(crate) fn decoded(value: &Value) -> String {
    let bytes = STANDARD.decode(value.as_str().expect("text")).expect("base64");
    String::from_utf8(bytes).expect("UTF-8")
}
