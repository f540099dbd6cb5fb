//! Loading a few files of a directory of the client, before anything is known of what the build needs of it.

use std::collections::BTreeMap;

use rbuild_graph::source::{self, attr};
use rbuild_graph::{Builder, Definition, description, pb};

/// The ignore file of a directory.
pub(crate) const IGNORE_FILE: &str = ".dockerignore";

/// Files of a directory of the client.
pub(crate) struct Load<'a> {
    /// The directory's name.
    pub(crate) directory: &'a str,
    /// The session that has it.
    pub(crate) session: Option<&'a str>,
    /// The paths.
    pub(crate) paths: &'a [String],
    /// Loads with the same hint share what was transferred.
    pub(crate) hint: &'a str,
    /// What the load is called in the progress.
    pub(crate) shown: &'a str,
}

impl Load<'_> {
    /// Returns the graph.
    pub(crate) fn definition(&self) -> Definition {
        let paths = serde_json::to_string(self.paths).expect("a list of texts is JSON");
        let mut attrs = BTreeMap::from([
            (attr::FOLLOW_PATHS.to_owned(), paths),
            (attr::SHARED_KEY_HINT.to_owned(), self.hint.to_owned()),
            (attr::LOCAL_DIFFER.to_owned(), "none".to_owned()),
        ]);
        attrs.extend(self.session.map(|session| (attr::LOCAL_SESSION_ID.to_owned(), session.to_owned())));
        let source = pb::SourceOp { identifier: format!("{}{}", source::LOCAL, self.directory), attrs };
        let op = pb::Op {
            op: Some(pb::Kind::Source(source)),
            constraints: Some(pb::WorkerConstraints::default()),
            ..pb::Op::default()
        };
        let description = [(description::CUSTOM_NAME.to_owned(), self.shown.to_owned())].into();
        let metadata = pb::OpMetadata { description, ..pb::OpMetadata::default() };
        let mut builder = Builder::new();
        let output = builder.add(op, Vec::new(), &metadata, &[]).output(0);
        builder.finish(Some(output), Vec::new())
    }
}
