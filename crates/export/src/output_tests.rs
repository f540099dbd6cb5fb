use super::*;

fn parse(text: &str, asker: Asker) -> Result<Output, ExportError> {
    let mut attributes: BTreeMap<String, String> = text
        .split(',')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let kind = attributes.remove("type").unwrap_or_default();
    Output::parse(&OutputSpec { kind, attributes }, asker)
}

#[test]
fn refused_with_a_reason() {
    use Asker::{Client, CommandLine};
    for (text, asker, said) in [
        ("type=oci", CommandLine, "dest is required"),
        ("type=nope", CommandLine, "unknown output type `nope`"),
        ("type=nope", Client, "exporter \"nope\" could not be found"),
        ("type=moby", Client, "moby"),
        ("type=image,push=maybe", Client, "push=maybe"),
        ("type=image,colour=red", CommandLine, "colour=red"),
        ("type=oci,compression=lzw", Client, "lzw"),
        ("type=oci,compression=estargz", Client, "not supported yet"),
        ("type=oci,compression-level=11", Client, "from 0 to 9"),
        ("type=oci,dest=x,compression=zstd,oci-mediatypes=false", CommandLine, "\"compression=zstd\" conflicts with"),
        ("type=image,oci-artifact=true,oci-mediatypes=false", Client, "\"oci-artifact=true\" conflicts with"),
        ("type=image,annotation-nope.k=v", Client, "unrecognized annotation type nope"),
        ("type=image,annotation[nope].k=v", Client, "nope"),
        ("type=image,source-date-epoch=x", Client, "source-date-epoch"),
        ("type=local,mode=move", Client, "copy or delete"),
        ("type=local,dest=d,annotation.k=v", CommandLine, "no annotations"),
        ("type=local,dest=d,rewrite-timestamp=true", CommandLine, "rewrite-timestamp"),
        ("type=image,mode=delete", CommandLine, "mode=delete"),
    ] {
        let error = parse(text, asker).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[test]
fn read_as_buildkit_reads_them() {
    let client = |text: &str| parse(text, Asker::Client).unwrap();
    let image = client("type=image,push,name=a,b=c,containerimage.config={},annotation.k=v,buildinfo=true");
    assert!(image.image.push && image.image.store && image.image.artifact && image.image.inline_attestations);
    assert_eq!(image.names.as_deref(), Some("a"));
    assert_eq!(image.metadata.keys().collect::<Vec<_>>(), ["b", "containerimage.config"]);
    assert_eq!(client("type=oci,dest=/etc/passwd").dest(), None, "a client has its own files");
    assert!(!client("type=oci").image.inline_attestations);
    assert_eq!(client("type=docker").kind(), OutputKind::Archive(ArchiveKind::Docker));
    let mine = parse("type=docker", Asker::CommandLine).unwrap();
    assert_eq!(mine.kind(), OutputKind::Image);
    let registry = parse("type=registry,name=a", Asker::CommandLine).unwrap();
    assert!(registry.image.push && !registry.image.store);
    let docker = client("type=image,oci-mediatypes=false");
    assert!(!docker.image.artifact && !docker.image.assemble.oci_media_types);
    assert_eq!(client("type=local,mode=delete").mode, DirectoryMode::Delete);
    assert_eq!(client("type=tar,source-date-epoch=").epoch, Some(None));
}

#[test]
fn names_of_images_without_one() {
    let digest = Digest::of(b"x");
    for (text, names, want, canonical) in [
        ("type=image", "a,b", "a,b".to_owned(), false),
        ("type=image,name-canonical=true", "a", "a".to_owned(), true),
        ("type=image,dangling-name-prefix=d", "a", format!("a,d@{digest}"), false),
        ("type=image,dangling-name-prefix=d,name-canonical=true", "", format!("d@{digest}"), false),
        ("type=image,dangling-name-prefix=d,danging-name-empty-only=true", "a", "a".to_owned(), false),
        ("type=image,dangling-name-prefix=d,danging-name-empty-only=true", "", format!("d@{digest}"), false),
    ] {
        let output = parse(text, Asker::Client).unwrap();
        assert_eq!(output.image.all_names(names, &digest), (want, canonical), "{text} {names}");
    }
}
