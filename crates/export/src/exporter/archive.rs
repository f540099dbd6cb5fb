//! Images as archives, or in a client's content store.

use std::io::{self, BufWriter};

use rbuild_oci::Descriptor;
use rbuild_oci::Reference;

use super::{Exported, Work};
use crate::ExportError;
use crate::archive::{ArchiveKind, Contents};
use crate::commit::Commit;
use crate::destination::{Blob, Destination};
use crate::output::parse_names;
use crate::response::{NAME, of_image};

/// When an image was made.
const CREATED: &str = "org.opencontainers.image.created";

impl Work<'_> {
    pub(super) fn archive(&self, kind: ArchiveKind, destination: &dyn Destination) -> Result<Exported, ExportError> {
        if kind == ArchiveKind::Docker && self.is_map {
            return Err(ExportError::ManifestList);
        }
        let names = parse_names(&self.names())?;
        let options = self.commit_options(&names);
        let commit = Commit::new(self.images, &self.parts, self.is_map, &options, &self.progress)?;
        let root = self.dated(&commit)?;
        let mut contents = Contents::default();
        contents.add(self.images, &commit, root.clone(), &names)?;
        let config = commit.images.first().map(|image| image.config.0.digest);
        let mut response = of_image(&root, config.as_ref().filter(|_| commit.index.is_none()));
        if !names.is_empty() {
            let full = names.iter().map(Reference::to_string).collect::<Vec<_>>();
            response.insert(NAME.to_owned(), full.join(","));
        }
        match self.output.tar {
            true => {
                let stream = destination.stream(&response)?;
                let _sending = self.progress.begin("sending tarball");
                let sent = BufWriter::with_capacity(256 << 10, stream);
                let sent = contents.write_tar(self.images, kind, sent).and_then(finished);
                if let Err(error) = sent
                    && !is_there_already(&error)
                {
                    return Err(error);
                }
            }
            false => {
                let blob = |descriptor: &Descriptor| Blob { descriptor: descriptor.clone(), images: self.images };
                let mut blobs = contents.blobs().iter().map(blob);
                destination.content(&mut blobs, &contents.documents(kind))?;
            }
        }
        Ok(Exported { response, descriptor: Some(root), image_id: config, names, push: None })
    }

    /// Says when the image was made: at the epoch, or else when its configuration says.
    fn dated(&self, commit: &Commit) -> Result<Descriptor, ExportError> {
        #[derive(serde::Deserialize)]
        struct Told {
            created: Option<String>,
        }
        let mut root = commit.root.clone();
        let epoch = self.parts.first().and_then(|part| part.epoch);
        let epoch = epoch.and_then(|epoch| time::OffsetDateTime::from_unix_timestamp(epoch).ok());
        let told = || {
            let config = &commit.images.first()?.config.1;
            serde_json::from_slice::<Told>(config).ok()?.created
        };
        if let Some(created) = epoch.map(crate::config::rfc3339).or_else(told) {
            root.annotations.entry(CREATED.to_owned()).or_insert(created);
        }
        Ok(root)
    }
}

/// Ends a stream.
pub(super) fn finished(out: BufWriter<Box<dyn crate::destination::TarStream>>) -> Result<(), ExportError> {
    let failed = |error: io::Error| ExportError::Destination(Box::new(error));
    out.into_inner().map_err(|error| failed(error.into_error()))?.finish().map_err(failed)
}

/// Whether a destination says that it has the archive.
fn is_there_already(error: &ExportError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
            return true;
        }
        cause = match error.downcast_ref::<ExportError>() {
            Some(ExportError::Destination(inner)) => Some(&**inner),
            _ => error.source(),
        };
    }
    false
}
