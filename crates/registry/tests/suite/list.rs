//! Tags, referrers and deletion.

use rbuild_oci::{Digest, media_type};
use rbuild_registry::Error;

use crate::fake::{Fake, Fault};
use crate::{client, reference};

#[tokio::test]
async fn tags_come_in_pages() {
    let fake = Fake::start().await;
    fake.state().tags = (0..5).map(|n| format!("t{n}")).collect();
    let tags = client().tags(&reference(&fake.host, "app", "1")).await.unwrap();
    assert_eq!(tags, ["t0", "t1", "t2", "t3", "t4"]);
    assert_eq!(fake.count("tags/list"), 3);
}

#[tokio::test]
async fn pages_stay_at_home_and_end() {
    let cases = [
        ("Link: <http://evil.example/v2/app/tags/list>; rel=\"next\"", "another server"),
        ("Link: </v2/app/tags/list>; rel=\"next\"", "in circles"),
    ];
    for (header, part) in cases {
        let fake = Fake::start().await;
        fake.plan("tags/list", 9, Fault::Header(header.into()));
        let error = client().tags(&reference(&fake.host, "app", "1")).await.unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn endless_lists_are_bounded() {
    let fake = Fake::start().await;
    let tags = format!(r#"{{"tags":["{}"]}}"#, vec!["t"; 1_000_000].join("\",\""));
    fake.plan("tags/list", 1, Fault::Answer(200, String::new(), tags.clone()));
    let error = client().tags(&reference(&fake.host, "app", "1")).await.unwrap_err();
    assert!(error.to_string().contains("100000 entries"), "{error}");
    fake.plan("tags/list", 1, Fault::Answer(200, String::new(), tags.repeat(4)));
    let error = client().tags(&reference(&fake.host, "app", "1")).await.unwrap_err();
    assert!(error.to_string().contains("8 MiB"), "{error}");
}

#[tokio::test]
async fn large_pages_are_counted_together() {
    let fake = Fake::start().await;
    let subject = Digest::of(b"subject");
    let page = format!(r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"a":"{}"}}}}"#, "x".repeat(8_000_000));
    for number in 0..9 {
        let next = format!("Link: </v2/app/referrers/{subject}?page={number}>; rel=\"next\"\r\n");
        fake.plan("referrers/", 1, Fault::Answer(200, next, page.clone()));
    }
    let error = client().referrers(&reference(&fake.host, "app", "1"), &subject, None).await.unwrap_err();
    assert!(error.to_string().contains("64 MiB"), "{error}");
}

#[tokio::test]
async fn referrers_fall_back_to_the_tag() {
    let fake = Fake::start().await;
    let (subject, one) = (Digest::of(b"subject"), Digest::of(b"one"));
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": [
            { "mediaType": media_type::OCI_MANIFEST, "digest": one, "size": 3, "artifactType": "sbom" },
            { "mediaType": media_type::OCI_MANIFEST, "digest": subject, "size": 3, "artifactType": "other" },
        ],
    });
    let app = reference(&fake.host, "app", "1");
    assert!(client().referrers(&app, &subject, None).await.unwrap().manifests.is_empty());
    let tag = subject.to_string().replace(':', "-");
    fake.manifest("app", &tag, media_type::OCI_INDEX, index.to_string().as_bytes());
    assert_eq!(client().referrers(&app, &subject, None).await.unwrap().manifests.len(), 2);
    let found = client().referrers(&app, &subject, Some("sbom")).await.unwrap().manifests;
    assert_eq!(found.iter().map(|entry| entry.digest).collect::<Vec<_>>(), [one]);
}

#[tokio::test]
async fn deletes_what_is_there() {
    let fake = Fake::start().await;
    fake.manifest("app", "1", media_type::OCI_MANIFEST, b"{}");
    let app = reference(&fake.host, "app", "1");
    client().delete_manifest(&app).await.unwrap();
    let again = client().delete_manifest(&app).await;
    assert!(matches!(&again, Err(Error::Refused { status: 404, .. })), "{again:?}");
}
