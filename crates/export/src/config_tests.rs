use super::*;

fn layer(created: &str, description: &str) -> LayerFacts {
    LayerFacts { created: Some(created.to_owned()), description: description.to_owned() }
}

const TIME: &str = "2020-01-01T00:00:00Z";
const LATER: &str = "2021-01-01T00:00:00Z";

/// Patches `given` for two layers that were made at [`TIME`] and [`LATER`].
fn check(given: &str, base: &[History], epoch: Option<i64>, want: &str) {
    let layers = [layer(TIME, "one"), layer(LATER, "two")];
    let diff_ids = [DiffId(rbuild_oci::Digest::of(b"1")), DiffId(rbuild_oci::Digest::of(b"2"))];
    let patch = Patch { diff_ids: &diff_ids, layers: &layers, base, epoch, cache: None };
    let found = match patched(given.as_bytes(), &patch) {
        Ok(bytes) => String::from_utf8(bytes).unwrap(),
        Err(error) => error.to_string(),
    };
    let rootfs = format!(r#""rootfs":{{"type":"layers","diff_ids":["{}","{}"]}}"#, diff_ids[0], diff_ids[1]);
    assert_eq!(found.replace(&rootfs, "ROOTFS"), want, "{given}");
}

#[test]
fn histories_fit_layers() {
    for (history, want) in [
        // Nobody told: both get an entry at the end.
        (
            "null",
            concat!(
                r#"[{"created":"2020-01-01T00:00:00Z","created_by":"one","comment":"buildkit.exporter.image.v0"},"#,
                r#"{"created":"2021-01-01T00:00:00Z","created_by":"two","comment":"buildkit.exporter.image.v0"}]"#
            ),
        ),
        // One too many: the last has no layer.
        (
            r#"[{"created_by":"a"},{"created_by":"b"},{"created_by":"c"}]"#,
            concat!(
                r#"[{"created":"2020-01-01T00:00:00Z","created_by":"a"},{"created":"2021-01-01T00:00:00Z","created_by":"b"},"#,
                r#"{"created":"2021-01-01T00:00:00Z","created_by":"c","empty_layer":true}]"#
            ),
        ),
        // Entries without layers get the time of the first new layer, then of those before.
        (
            r#"[{"created_by":"e","empty_layer":true},{"created_by":"a"},{"created_by":"f","empty_layer":true},{"created_by":"b","created":"2019-05-05T00:00:00Z"}]"#,
            concat!(
                r#"[{"created":"2020-01-01T00:00:00Z","created_by":"e","empty_layer":true},"#,
                r#"{"created":"2020-01-01T00:00:00Z","created_by":"a"},"#,
                r#"{"created":"2020-01-01T00:00:00Z","created_by":"f","empty_layer":true},"#,
                r#"{"created":"2019-05-05T00:00:00Z","created_by":"b"}]"#
            ),
        ),
    ] {
        let created = match history.contains("2019") {
            true => "2019-05-05T00:00:00Z",
            false => LATER,
        };
        check(
            &format!(r#"{{"os":"linux","architecture":"amd64","history":{history}}}"#),
            &[],
            None,
            &format!(r#"{{"architecture":"amd64","created":"{created}","history":{want},"os":"linux",ROOTFS}}"#),
        );
    }
}

#[test]
fn epochs_spare_the_base() {
    let base = History { created: Some(LATER.to_owned()), created_by: "base".to_owned(), ..History::default() };
    let given = r#"{"os":"linux","architecture":"amd64","created":"2022-01-01T00:00:00Z","history":[{"created":"2021-01-01T00:00:00Z","created_by":"base"},{"created_by":"own"}]}"#;
    let entry = |created: &str, by: &str| format!(r#"{{"created":"{created}","created_by":"{by}"}}"#);
    for (base, first) in [(&[base][..], LATER), (&[], "2020-06-01T00:00:00Z")] {
        let (first, own) = (entry(first, "base"), entry("2020-06-01T00:00:00Z", "own"));
        let want = format!(
            r#"{{"architecture":"amd64","created":"2020-06-01T00:00:00Z","history":[{first},{own}],"os":"linux",ROOTFS}}"#
        );
        check(given, base, Some(1_590_969_600), &want);
    }
}

#[test]
fn unknown_fields_stay_and_nonsense_is_refused() {
    let given = r#"{ "os":"linux", "architecture":"arm64", "created":null, "zeta": {"big": 123456789012345678901234567890, "html":"<b>\"&", "s": "a  b"},
        "history":[{"created":"2019-05-05T00:00:00Z"},{"created":"2019-05-05T00:00:00Z"}], "rootfs":{"type":"other","diff_ids":["x"]} }"#;
    check(
        given,
        &[],
        None,
        concat!(
            r#"{"architecture":"arm64","created":null,"history":[{"created":"2019-05-05T00:00:00Z"},{"created":"2019-05-05T00:00:00Z"}],"#,
            r#""os":"linux",ROOTFS,"zeta":{"big":123456789012345678901234567890,"html":"\u003cb\u003e\"\u0026","s":"a  b"}}"#
        ),
    );
    for (given, said) in [
        (r#"{"architecture":"amd64"}"#, "missing os"),
        (r#"{"os":"linux","architecture":""}"#, "missing architecture"),
        ("null", "invalid image config for export"),
        ("{", "invalid image config for export"),
        ("[]", "invalid image config for export"),
        (r#"{"os":1}"#, "invalid image config for export"),
        (r#"{"os":"linux","architecture":"a","history":{}}"#, "invalid image config for export"),
    ] {
        let patch = Patch { diff_ids: &[], layers: &[], base: &[], epoch: None, cache: None };
        let error = patched(given.as_bytes(), &patch).unwrap_err().to_string();
        assert!(error.contains(said), "{given}: {error}");
    }
}

#[test]
fn roots_without_a_description() {
    let platform = Platform::new("linux", "amd64", None);
    let patch = Patch { diff_ids: &[], layers: &[], base: &[], epoch: Some(0), cache: Some(b"cache") };
    let bytes = patched(&default_config(&platform), &patch).unwrap();
    let want = concat!(
        r#"{"architecture":"amd64","config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"#,
        r#""WorkingDir":"/"},"created":null,"history":null,"moby.buildkit.cache.v0":"Y2FjaGU=","os":"linux","#,
        r#""rootfs":{"type":"layers","diff_ids":[]}}"#
    );
    assert_eq!(String::from_utf8(bytes).unwrap(), want);
}
