//! A place for one test: a store and a builder upon it, in this process and without privileges.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rbuild_build::{BuildError, BuildOutcome, BuildRequest, Builder, ContextSource, NetworkMode, OutputSpec, Parts};
use rbuild_events::Silent;
use rbuild_images::Images;
use rbuild_network::{Provider, Settings};
use rbuild_oci::ImageConfig;
use rbuild_registry::Options;
use rbuild_snapshot::{Roots, Strategy, UnpackOptions};
use rbuild_store::Store;

/// A place for one test.
pub(crate) struct Place(pub(crate) tempfile::TempDir, Option<OsString>);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap(), None)
    }

    /// Puts programs before those of the machine.
    pub(crate) fn with_programs(self, programs: &Path) -> Self {
        let mut search = programs.as_os_str().to_owned();
        search.push(":/usr/local/bin:/usr/bin:/bin");
        Self(self.0, Some(search))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(&self.path("store")).unwrap()
    }

    pub(crate) fn builder(&self) -> Builder {
        let runtime = tokio::runtime::Handle::current();
        let images = Images::new(self.store(), Options::default(), runtime, UnpackOptions::default());
        let settings = Settings {
            root: false,
            tools: rbuild_sys::host::Tools::default(),
            locks: self.path("locks"),
            resolv_conf: String::new(),
            bridge: "none".to_owned(),
            block_metadata: false,
        };
        Builder::new(Parts {
            images,
            roots: Roots::new(Strategy::Copy, false),
            network: Provider::new(settings),
            reporter: Arc::new(Silent),
            search_path: self.1.clone(),
            stdin: || Box::new("FROM scratch\nCOPY sub/inner /by-stdin\n".as_bytes()),
            stdout: || Box::new(std::io::sink()),
        })
        .unwrap()
    }

    /// Builds into a directory and returns it.
    pub(crate) async fn build(
        &self,
        context: ContextSource,
        change: impl FnOnce(&mut BuildRequest),
    ) -> Result<PathBuf, BuildError> {
        static COUNT: Mutex<u32> = Mutex::new(0);
        let number = {
            let mut count = COUNT.lock().unwrap();
            *count += 1;
            *count
        };
        let dest = self.path(&format!("out{number}"));
        let output = OutputSpec {
            kind: "local".to_owned(),
            attributes: BTreeMap::from([("dest".to_owned(), dest.display().to_string())]),
        };
        let mut request = request(context);
        request.outputs = vec![output];
        change(&mut request);
        self.builder().build(&request).await.map(|_| dest)
    }

    pub(crate) async fn image(
        &self,
        context: ContextSource,
        change: impl FnOnce(&mut BuildRequest),
    ) -> (BuildOutcome, ImageConfig) {
        let mut request = request(context);
        change(&mut request);
        let outcome = self.builder().build(&request).await.unwrap();
        let config = self.store().blobs().read_json(&outcome.image_id).unwrap();
        (outcome, config)
    }
}

pub(crate) fn request(context: ContextSource) -> BuildRequest {
    BuildRequest { network: NetworkMode::None, ..BuildRequest::new(context) }
}

pub(crate) fn read(directory: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(directory.join(name)).ok()
}
