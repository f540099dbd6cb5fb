use super::*;

const GIGABYTE: u64 = 1_000_000_000;

#[test]
fn what_stays_is_between_the_limits() {
    let disk = Disk { total: 100 * GIGABYTE, free: 10 * GIGABYTE };
    let space = |gigabytes: u64| Some(Space::Bytes(gigabytes * GIGABYTE)).filter(|_| gigabytes > 0);
    // Reserved, most, free; used; what stays.
    for ([reserved, max_used, min_free], used, expected) in [
        ([5, 0, 0], 20, 5),
        ([0, 30, 0], 20, 30),
        ([0, 0, 15], 20, 15),
        ([0, 30, 15], 20, 15),
        ([18, 30, 15], 20, 18),
        ([0, 12, 15], 20, 12),
        ([0, 0, 40], 20, 0),
        ([0, 0, 5], 20, 20),
    ] {
        let [reserved, max_used, min_free] = [reserved, max_used, min_free].map(space);
        let rule = GcPolicy { reserved, max_used, min_free, ..GcPolicy::default() };
        assert_eq!(keep(&rule, used * GIGABYTE, disk), expected * GIGABYTE, "{rule:?}");
    }
}

#[test]
fn an_empty_store_has_nothing_to_show_or_give_up() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    assert!(disk_usage(&store, &DiskUsageRequest::default()).unwrap().record.is_empty());
    assert!(prune(&store, &PruneRequest { all: true, ..PruneRequest::default() }).unwrap().is_empty());
}

#[test]
fn memories_of_contexts_are_shown_filtered_and_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    std::fs::write(store.contexts_dir().join("one"), vec![b'x'; 5000]).unwrap();
    let shown = |filter: &[&str]| {
        let filter = filter.iter().map(|text| (*text).to_owned()).collect();
        disk_usage(&store, &DiskUsageRequest { filter, age_limit: 0 }).unwrap().record
    };
    let records = shown(&[]);
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].record_type.as_str(), records[0].mutable), ("source.local", true));
    assert_eq!(shown(&["type==regular", "type==source.local,mutable"]).len(), 1);
    assert!(shown(&["type==regular"]).is_empty());
    assert!(shown(&["type==source.local,inuse"]).is_empty());
    let keep = PruneRequest { reserved_space: 1 << 40, ..PruneRequest::default() };
    assert!(prune(&store, &keep).unwrap().is_empty());
    let young = PruneRequest { keep_duration: i64::MAX, ..PruneRequest::default() };
    assert!(prune(&store, &young).unwrap().is_empty());
    let gone = prune(&store, &PruneRequest::default()).unwrap();
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0].id, "context/one");
    assert!(shown(&[]).is_empty());
}

#[test]
fn manifests_and_logs_are_no_cache() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    store.blobs().put(b"a manifest").unwrap();
    assert!(disk_usage(&store, &DiskUsageRequest::default()).unwrap().record.is_empty());
}

#[test]
fn nonsense_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    let filter = vec!["colour==red".to_owned()];
    let status = tonic::Status::from(disk_usage(&store, &DiskUsageRequest { filter, age_limit: 0 }).unwrap_err());
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    for request in [
        PruneRequest { keep_duration: -1, ..PruneRequest::default() },
        PruneRequest { max_used_space: -1, ..PruneRequest::default() },
        PruneRequest { min_free_space: i64::MIN, ..PruneRequest::default() },
    ] {
        assert!(matches!(prune(&store, &request), Err(UsageError::Request(_))), "{request:?}");
    }
}
