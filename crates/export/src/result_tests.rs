use super::*;

fn result(refs: Refs, metadata: &[(&str, &str)]) -> BuildResult {
    let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
    BuildResult { refs, metadata: metadata.collect(), attestations: BTreeMap::new() }
}

fn several(ids: &[&str]) -> Refs {
    Refs::Several(ids.iter().map(|id| ((*id).to_owned(), Vec::new())).collect())
}

#[test]
fn parts_in_the_order_of_their_platforms() {
    let platforms = r#"{"Platforms":[{"ID":"b","Platform":{"os":"linux","architecture":"arm64","variant":"v8"}},{"ID":"a","Platform":{"os":"linux","architecture":"amd64"}}]}"#;
    let metadata =
        [(PLATFORMS, platforms), ("containerimage.config/a", "{}"), (EPOCH, "7"), ("source.date.epoch/b", "9")];
    let parts = result(several(&["a", "b"]), &metadata).parts().unwrap();
    let told: Vec<_> = parts.iter().map(|part| (part.id.as_str(), part.platform.to_string(), part.epoch)).collect();
    assert_eq!(told, [("b", "linux/arm64".to_owned(), Some(9)), ("a", "linux/amd64".to_owned(), Some(7))]);
    assert_eq!((parts[0].config.is_none(), parts[1].config.as_deref()), (true, Some(&b"{}"[..])));
}

#[test]
fn one_part() {
    let host = Platform::host().normalise();
    for (metadata, want) in [
        (vec![], host.to_string()),
        (vec![(CONFIG, r#"{"os":"linux","architecture":"arm"}"#)], "linux/arm/v7".to_owned()),
        (vec![(CONFIG, "{}")], host.to_string()),
    ] {
        let parts = result(Refs::One(Vec::new()), &metadata).parts().unwrap();
        assert_eq!((parts.len(), parts[0].platform.to_string(), &parts[0].id), (1, want.clone(), &want));
    }
}

#[test]
fn results_that_make_no_sense() {
    let one = r#"{"Platforms":[{"ID":"x","Platform":{"os":"linux","architecture":"amd64"}}]}"#;
    let two = r#"{"Platforms":[{"ID":"x","Platform":{"os":"linux","architecture":"amd64"}},{"ID":"y","Platform":{"os":"linux","architecture":"arm"}}]}"#;
    for (refs, metadata, said) in [
        (several(&["x"]), vec![], Some("missing platforms mapping")),
        (several(&["x"]), vec![(PLATFORMS, "")], Some("invalid empty platforms index")),
        (several(&["x"]), vec![(PLATFORMS, "{}")], Some("invalid empty platforms index")),
        (several(&["x"]), vec![(PLATFORMS, "{")], Some("failed to read the platforms")),
        (several(&["x"]), vec![(PLATFORMS, r#"{"Platforms":[{"Platform":{}}]}"#)], Some("invalid empty platform key")),
        (
            several(&["x"]),
            vec![(PLATFORMS, r#"{"Platforms":[{"ID":"x","Platform":{"os":"l"}}]}"#)],
            Some("invalid platform"),
        ),
        (several(&["x", "z"]), vec![(PLATFORMS, two)], Some("failed to find ref for ID y")),
        // The only part stands for any id.
        (several(&["z"]), vec![(PLATFORMS, one)], None),
        (Refs::One(Vec::new()), vec![(PLATFORMS, two)], Some("cannot export multiple platforms")),
        (Refs::One(Vec::new()), vec![(CONFIG, r#"{"os":"linux"}"#)], Some("specified together")),
        (Refs::One(Vec::new()), vec![(CONFIG, "x")], Some("invalid image config")),
        (Refs::One(Vec::new()), vec![(BASE_CONFIG, "x")], Some("base image config")),
        (Refs::One(Vec::new()), vec![(EPOCH, "x")], Some("invalid SOURCE_DATE_EPOCH")),
        (Refs::One(Vec::new()), vec![(EPOCH, "")], None),
    ] {
        let found = result(refs, &metadata).parts().err().map(|error| error.to_string());
        match said {
            None => assert_eq!(found, None, "{metadata:?}"),
            Some(said) => assert!(found.as_ref().is_some_and(|error| error.contains(said)), "{metadata:?}: {found:?}"),
        }
    }
}
