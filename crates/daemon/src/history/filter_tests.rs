use std::collections::BTreeMap;

use rbuild_buildkit_api::rpc;

use super::*;

/// Seconds since the epoch that count as now.
const NOW: u64 = 1_000_000;

fn record(name: &str, started: i64, took: Option<i64>, error: Option<&str>, context: &str) -> BuildHistoryRecord {
    let at = |seconds| Timestamp { seconds, nanos: 0 };
    BuildHistoryRecord {
        r#ref: name.to_owned(),
        created_at: Some(at(started)),
        completed_at: took.map(|took| at(started + took)),
        error: error.map(|message| rpc::Status { code: 2, message: message.to_owned(), details: Vec::new() }),
        frontend_attrs: BTreeMap::from([("context".to_owned(), context.to_owned())]),
        ..BuildHistoryRecord::default()
    }
}

fn records() -> Vec<BuildHistoryRecord> {
    vec![
        record("a", 900_000, Some(10), None, "https://git.example/x.git#main"),
        record("b", 999_000, Some(100), Some("exit code: 1"), "."),
        record("c", 999_900, Some(1), Some("context canceled"), "https://git.example/y.git"),
        record("d", 999_990, None, None, "."),
    ]
}

fn parse(filters: &[&str]) -> Result<Filters, HistoryError> {
    let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
    Filters::parse(&filters, SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
}

fn check(filters: &[&str], limit: usize, expected: &str) {
    let filters = parse(filters).unwrap_or_else(|error| panic!("{filters:?}: {error}"));
    let names: String = filters.select(records(), limit).iter().map(|record| record.r#ref.as_str()).collect();
    assert_eq!(names, expected, "{filters:?}");
}

#[test]
fn records_are_chosen() {
    check(&[], 0, "abcd");
    check(&[], 2, "dc");
    check(&["ref==a"], 0, "a");
    check(&["ref!=a"], 0, "bcd");
    check(&["ref~=^[ab]$"], 0, "ab");
    check(&["ref==a", "ref==d"], 0, "ad");
    check(&["ref!=a,status==error"], 0, "b");
    check(&["status==canceled"], 0, "c");
    check(&["status==running"], 0, "d");
    check(&["repository==https://git.example/x.git"], 0, "a");
    check(&["\"repository~=git.example\",ref!=a"], 0, "c");
    check(&["startedAt>1h"], 0, "bcd");
    check(&["startedAt<=1970-01-11T10:00:00Z"], 0, "a");
    check(&["duration>=10s"], 0, "ab");
    check(&["completedAt<1000"], 0, "ad");
    check(&["ref==\"a\""], 0, "a");
}

#[test]
fn others_are_refused() {
    for (filter, reason) in [
        ("colour==red", "no field `colour`"),
        ("ref", "expected a name"),
        ("ref<1", "compared by =="),
        ("duration==1s", "compared by <"),
        ("duration<long", "invalid duration"),
        ("startedAt>yesterday", "invalid time"),
        ("ref~=(", "unclosed"),
        ("ref~=(a{1000}){1000}{1000}", "size"),
        ("\"ref==a", "not closed"),
    ] {
        let error = parse(&[filter]).expect_err(filter).to_string();
        assert!(error.to_lowercase().contains(reason), "{filter}: {error}");
    }
    assert!(parse(&[&"x".repeat(100_000)]).is_err());
}
