//! Results of all shapes through the exporter, to a destination that remembers what it was given.

mod place;

use std::collections::BTreeMap;
use std::sync::Arc;

use rbuild_export::attestation::{Content, Kind};
use rbuild_export::{Attestation, BuildResult, Exported, InlineCache, NamedSubject, Refs, Subject};
use rbuild_images::MadeBlob;
use rbuild_oci::{Descriptor, Digest};
use rbuild_store::LayerId;
use serde_json::{Value, json};

use place::{Place, Taken, members};

const CONFIG: &str = r#"{"os":"linux","architecture":"amd64","own":1,"history":[{"created_by":"RUN x"}]}"#;
const PLATFORMS: &str = r#"{"Platforms":[{"ID":"linux/arm64","Platform":{"os":"linux","architecture":"arm64"}},{"ID":"linux/amd64","Platform":{"os":"linux","architecture":"amd64"}}]}"#;
const EPOCH: &str = "1400000000";

fn metadata(entries: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
}

fn one(place: &Place) -> BuildResult {
    let layers = vec![place.layer(&[("a", "A")])];
    let metadata = metadata(&[("containerimage.config", CONFIG), ("source.date.epoch", EPOCH)]);
    BuildResult { refs: Refs::One(layers), metadata, attestations: BTreeMap::new() }
}

fn two(place: &Place) -> BuildResult {
    let refs = BTreeMap::from([
        ("linux/amd64".to_owned(), vec![place.layer(&[("a", "A")])]),
        ("linux/arm64".to_owned(), vec![place.layer(&[("b", "B")])]),
    ]);
    let metadata = metadata(&[("refs.platforms", PLATFORMS), ("source.date.epoch", EPOCH)]);
    BuildResult { refs: Refs::Several(refs), metadata, attestations: BTreeMap::new() }
}

fn attestation(path: &str, predicate_type: &str, metadata: &[(&str, &str)]) -> Attestation {
    Attestation {
        kind: Kind::InToto,
        metadata: self::metadata(metadata),
        content: Content::Made(r#"{"made": "here"}"#.into()),
        path: path.to_owned(),
        predicate_type: predicate_type.to_owned(),
        subjects: Vec::new(),
    }
}

/// Runs a test where exporters run: outside of the runtime's own threads.
fn run(test: impl FnOnce(&Place) + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    runtime.block_on(async move { handle.spawn_blocking(|| test(&Place::new())).await.unwrap() });
}

fn export(place: &Place, output: &str, result: &BuildResult) -> (Exported, Arc<Taken>) {
    let taken = Arc::default();
    (place.export(output, result, &taken, None).unwrap(), taken)
}

/// Decodes the descriptor of a response.
fn descriptor(exported: &Exported) -> Value {
    let text = &exported.response["containerimage.descriptor"];
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn one_platform_answers_and_tells_as_buildkit_does() {
    run(|place| {
        let result = one(place);
        let output =
            "type=image,name=app;other:2,annotation.k=v,annotation-manifest-descriptor.d=w,name-canonical=true";
        let (exported, _) = export(place, output, &result);
        let keys: Vec<_> = exported.response.keys().map(String::as_str).collect();
        let all = ["containerimage.config.digest", "containerimage.descriptor", "containerimage.digest", "image.name"];
        assert_eq!(keys, all);
        assert_eq!(exported.response["image.name"], "app,other:2");
        let root = descriptor(&exported);
        assert_eq!(root["digest"], exported.response["containerimage.digest"].as_str());
        assert_eq!(root["platform"], json!({"architecture": "amd64", "os": "linux"}));
        assert_eq!(root["annotations"], json!({"d": "w"}));
        let manifest = place.document(&root["digest"]);
        assert_eq!(manifest["annotations"], json!({"k": "v"}));
        assert_eq!(manifest["config"]["digest"], exported.response["containerimage.config.digest"].as_str());
        let config = place.document(&manifest["config"]["digest"]);
        assert_eq!((&config["own"], &config["created"]), (&json!(1), &json!("2014-05-13T16:53:20Z")));
        assert_eq!(config["history"], json!([{"created": "2014-05-13T16:53:20Z", "created_by": "RUN x"}]));
        assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 1);
        let id = exported.image_id.unwrap().to_string();
        let digest = &exported.response["containerimage.digest"];
        for name in ["app", "other:2", &id, &format!("app:latest@{digest}")] {
            assert_eq!(place.images.store().images().resolve(name).unwrap().id.to_string(), id, "{name}");
        }
        let heard = place.heard();
        let naming = heard.iter().position(|text| text.starts_with("naming to")).unwrap();
        let want =
            ["exporting to image", "exporting layers", "exporting manifest", "exporting config", "writing image"];
        assert_eq!(heard[..naming], want);
    });
}

#[test]
fn several_platforms_have_an_index_in_their_order() {
    run(|place| {
        let result = two(place);
        let output =
            "type=oci,name=app,annotation-index.i=1,annotation-index-descriptor.d=2,annotation[linux/arm64].k=3";
        let (exported, taken) = export(place, output, &result);
        assert!(!exported.response.contains_key("containerimage.config.digest"));
        assert_eq!(exported.response["image.name"], "docker.io/library/app:latest");
        let root = descriptor(&exported);
        let created = json!("2014-05-13T16:53:20Z");
        assert_eq!(root["annotations"], json!({"d": "2", "org.opencontainers.image.created": created}));
        let index = place.document(&root["digest"]);
        assert_eq!(index["annotations"], json!({"i": "1"}));
        let manifests = index["manifests"].as_array().unwrap();
        let platforms: Vec<_> = manifests.iter().map(|entry| entry["platform"]["architecture"].clone()).collect();
        assert_eq!(platforms, ["arm64", "amd64"]);
        assert_eq!(place.document(&manifests[0]["digest"])["annotations"], json!({"k": "3"}));
        assert_eq!(place.document(&manifests[1]["digest"])["annotations"], Value::Null);
        let files = members(&taken.tar.lock().unwrap());
        let top: Value =
            serde_json::from_slice(&files.iter().find(|(name, _)| name == "index.json").unwrap().1).unwrap();
        assert_eq!(top["manifests"][0]["annotations"]["io.containerd.image.name"], "docker.io/library/app:latest");
        assert_eq!(files.iter().filter(|(name, _)| name.starts_with("blobs/sha256/")).count(), 2 * 3 + 1);
        let (again, other) = export(place, output, &result);
        assert_eq!(again.response, exported.response);
        assert!(*other.tar.lock().unwrap() == *taken.tar.lock().unwrap(), "the same result, the same bytes");
    });
}

#[test]
fn refused() {
    run(|place| {
        let (single, several) = (one(place), two(place));
        let mut attested = one(place);
        attested.attestations.insert("linux/amd64".to_owned(), vec![attestation("p.json", "p", &[])]);
        let mut forged = one(place);
        let content = Content::Layers(vec![place.layer(&[("p.json", "{}")])]);
        let provenance = Attestation { content, ..attestation("p.json", "https://slsa.dev/provenance/v1", &[]) };
        forged.attestations.insert("linux/amd64".to_owned(), vec![provenance]);
        for (output, result, said) in [
            ("type=docker", &several, "docker exporter does not currently support exporting manifest lists"),
            ("type=oci,annotation-index.k=v", &single, "index annotations not supported for single platform export"),
            ("type=oci,annotation[linux/s390x].k=v", &single, "no platform linux/s390x found in source"),
            ("type=image,oci-mediatypes=false", &attested, "cannot export attestations with"),
            ("type=image", &forged, "frontend may not set provenance attestations"),
            ("type=image,containerimage.config={}", &single, "missing os"),
            ("type=image,push=true,push-by-digest=true,name=app:1", &single, "can't push tagged ref"),
            ("type=image,name=APP", &single, "invalid image name `APP`"),
        ] {
            let error = place.export(output, result, &Arc::default(), None).err().unwrap_or_default();
            assert!(error.contains(said), "{output}: {error}");
        }
    });
}

#[test]
fn content_stores_get_children_first_and_archives_may_be_there() {
    run(|place| {
        let (exported, taken) = export(place, "type=oci,tar=false", &two(place));
        let blobs = taken.blobs.lock().unwrap();
        assert_eq!((blobs.len(), blobs[6].to_string()), (7, exported.response["containerimage.digest"].clone()));
        assert_eq!(*taken.documents.lock().unwrap(), ["index.json", "oci-layout"]);
        let has_it = Arc::new(Taken { has_it: true, ..Taken::default() });
        for (output, taken) in [("type=oci", true), ("type=docker", true), ("type=tar", false)] {
            let done = place.export(output, &one(place), &has_it, None);
            assert_eq!(done.is_ok(), taken, "{output}");
        }
    });
}

struct Cache;

impl InlineCache for Cache {
    fn entry(
        &self,
        platform: &str,
        layers: &[(LayerId, MadeBlob)],
    ) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Some(format!("{platform} {}", layers.len()).into_bytes()))
    }
}

#[test]
fn images_carry_the_cache() {
    run(|place| {
        let exported = place.export("type=oci", &one(place), &Arc::default(), Some(Arc::new(Cache))).unwrap();
        let config = place.document(&json!(exported.response["containerimage.config.digest"]));
        assert_eq!(config["moby.buildkit.cache.v0"], "bGludXgvYW1kNjQgMQ==", "linux/amd64 1");
    });
}

#[test]
fn attestations_of_images() {
    run(|place| {
        let mut result = one(place);
        let inline = [("inline-only", "true")];
        let given = vec![
            attestation("sbom2.spdx.json", "https://spdx.dev/Document", &[("sbom-core", "sbom")]),
            attestation("sbom.spdx.json", "https://spdx.dev/Document", &[("sbom-core", "sbom")]),
            attestation("provenance.json", "https://slsa.dev/provenance/v1", &inline),
        ];
        result.attestations.insert("linux/amd64".to_owned(), given.clone());
        for (artifact, config_type) in [
            ("", "application/vnd.oci.empty.v1+json"),
            (",oci-artifact=false", "application/vnd.oci.image.config.v1+json"),
        ] {
            let (exported, _) = export(place, &format!("type=image,name=app{artifact}"), &result);
            let index = place.document(&descriptor(&exported)["digest"]);
            let [image, attested] = &index["manifests"].as_array().unwrap()[..] else { panic!("{index}") };
            assert_eq!(attested["platform"], json!({"architecture": "unknown", "os": "unknown"}));
            let about = json!({"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image["digest"]});
            assert_eq!(attested["annotations"], about);
            let manifest = place.document(&attested["digest"]);
            assert_eq!(manifest["config"]["mediaType"], config_type);
            assert_eq!(manifest["subject"].is_null(), !artifact.is_empty());
            assert_eq!(manifest["config"]["data"].is_null(), !artifact.is_empty());
            let layers = manifest["layers"].as_array().unwrap();
            assert_eq!(layers.len(), 3);
            assert_eq!(
                layers[2]["annotations"],
                json!({"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"})
            );
            let hex = image["digest"].as_str().unwrap().trim_start_matches("sha256:");
            let subject = json!([{"name": "pkg:docker/app@latest?platform=linux%2Famd64", "digest": {"sha256": hex}}]);
            let statement = place.document(&layers[0]["digest"]);
            let want = json!({"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://spdx.dev/Document", "subject": subject, "predicate": {"made": "here"}});
            assert_eq!(statement, want);
        }
        // Archives make no index for what is worth none.
        result.attestations.insert("linux/amd64".to_owned(), given[2..].to_vec());
        for (output, index) in [("type=oci", false), ("type=oci,attestation-inline=true", true), ("type=image", true)] {
            let (exported, _) = export(place, output, &result);
            let root: Descriptor = exported.descriptor.unwrap();
            assert_eq!(root.media_type.contains("index"), index, "{output}");
        }
    });
}

/// A file's layer is the topmost that has it; what has a comment or is in no layer stays.
#[test]
fn sboms_tell_the_layers_of_files() {
    run(|place| {
        let mut result = one(place);
        let layers = [place.layer(&[("a", "A"), ("d/b", "B")]), place.layer(&[("a", "other")])];
        result.refs = Refs::One(layers.to_vec());
        let document = json!({
            "spdxVersion": "SPDX-2.3",
            "files": [{"fileName": "/a"}, {"fileName": "d/../d/b"}, {"fileName": "/no"}, {"fileName": "/a", "comment": "c"}, 1],
        });
        let content = Content::Made(document.to_string().into());
        let core = [("sbom-core", "result")];
        let sbom = |path: &str| Attestation {
            content: content.clone(),
            ..attestation(path, "https://spdx.dev/Document", &core)
        };
        result.attestations.insert("linux/amd64".to_owned(), vec![sbom("/other.spdx.json"), sbom("/result.spdx.json")]);
        let (exported, _) = export(place, "type=image", &result);
        let index = place.document(&descriptor(&exported)["digest"]);
        let image = place.document(&index["manifests"][0]["digest"]);
        let attested = place.document(&index["manifests"][1]["digest"]);
        let predicates = [0, 1].map(|at| place.document(&attested["layers"][at]["digest"])["predicate"].clone());
        assert_eq!(predicates[0], document, "only the main SBOM is told more");
        let layer = |at: usize| json!(format!("layerID: {}", image["layers"][at]["digest"].as_str().unwrap()));
        let comments: Vec<_> = (0..4).map(|at| predicates[1]["files"][at]["comment"].clone()).collect();
        assert_eq!(comments, [layer(1), layer(0), Value::Null, json!("c")]);
        let creators = predicates[1]["creationInfo"]["creators"].as_array().unwrap();
        assert!(creators[0].as_str().unwrap().starts_with("Tool: rbuild-v"), "{creators:?}");
    });
}

#[test]
fn attestations_as_files() {
    run(|place| {
        let mut result = two(place);
        let other = NamedSubject::new("x".to_owned(), &Digest::of(b"x"));
        for id in ["linux/amd64", "linux/arm64"] {
            let bundle = place.layer(&[(
                "dir/one.json",
                r#"{"predicateType":"p","subject":[{"name":"x","digest":{"sha256":"1"}}],"predicate":{"b":1,"a":[ ]}}"#,
            )]);
            let given = vec![
                attestation("provenance.json", "https://slsa.dev/provenance/v1", &[]),
                attestation("inline.json", "p", &[("inline-only", "true")]),
                Attestation {
                    kind: Kind::Bundle,
                    content: Content::Layers(vec![bundle]),
                    subjects: vec![Subject::Other { name: Some(other.name.clone()), digests: other.digest.clone() }],
                    ..attestation("dir", "p", &[])
                },
            ];
            result.attestations.insert(id.to_owned(), given);
        }
        let names = |taken: &Taken| -> Vec<String> {
            let files = taken.files.lock().unwrap();
            let mut names: Vec<_> = files.iter().map(|file| file.split('=').next().unwrap().to_owned()).collect();
            names.sort();
            names
        };
        let (_, split) = export(place, "type=local,attestation-prefix=at.", &result);
        let of = |folder: &str, file: &str| {
            ["at.one.json", "at.provenance.json", file].map(|name| format!("{folder}/{name}")).to_vec()
        };
        let copies = vec!["Copy".to_owned(); 2];
        let mut want = [copies, of("linux_amd64", "a"), of("linux_arm64", "b")].concat();
        want.sort();
        assert_eq!(names(&split), want);
        let (_, flat) = export(place, "type=local,platform-split=false,mode=delete", &result);
        let want = [
            "Delete",
            "a",
            "b",
            "one.linux_amd64.json",
            "one.linux_arm64.json",
            "provenance.linux_amd64.json",
            "provenance.linux_arm64.json",
        ];
        assert_eq!(names(&flat), want);
        let files = flat.files.lock().unwrap();
        let text = files.iter().find_map(|file| file.strip_prefix("provenance.linux_amd64.json=")).unwrap();
        let statement: Value = serde_json::from_str(text).unwrap();
        assert_eq!(statement["subject"], json!([NamedSubject::new("a".to_owned(), &Digest::of(b"A"))]));
        assert!(text.starts_with("{\n  \"_type\""), "{text}");
        let (_, tar) = export(place, "type=tar", &result);
        let files = members(&tar.tar.lock().unwrap());
        assert!(files.iter().any(|(name, _)| name == "linux_arm64/provenance.json"), "{files:?}");
        assert!(files.iter().any(|(name, text)| name == "linux_arm64/b" && text == b"B"), "{files:?}");
    });
}

#[test]
fn roots_of_nothing() {
    run(|place| {
        let nothing =
            BuildResult { refs: Refs::One(Vec::new()), metadata: BTreeMap::new(), attestations: BTreeMap::new() };
        for output in ["type=image", "type=oci", "type=docker", "type=local", "type=tar"] {
            let (exported, taken) = export(place, output, &nothing);
            if let Some(root) = &exported.descriptor {
                let manifest = place.document(&json!(root.digest));
                assert_eq!(manifest["layers"], json!([]), "{output}");
                let config = place.document(&manifest["config"]["digest"]);
                assert_eq!((&config["rootfs"]["diff_ids"], &config["history"]), (&json!([]), &Value::Null));
            }
            assert!(taken.files.lock().unwrap().len() < 2);
        }
    });
}
