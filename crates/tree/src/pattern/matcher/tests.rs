use super::*;

fn check(patterns: &str, path: &str, expect: bool) {
    let matcher = Matcher::new(patterns.split(' ')).unwrap();
    assert_eq!(matcher.matches(Path::new(path)), expect, "`{patterns}` on `{path}`");
}

#[test]
fn single_patterns() {
    let table = [
        ("**", "file", true),
        ("**", "dir/file", true),
        ("**/", "file", true),
        ("**/", "dir/file", true),
        ("**/**", "dir/file", true),
        ("dir/**", "dir/file", true),
        ("dir/**", "dir/dir2/file", true),
        ("dir/**", "dir", false),
        ("**/dir", "dir", true),
        ("**/dir", "dir/file", true),
        ("**/dir2/*", "dir/dir2/file", true),
        ("**/dir2/*", "dir/dir2/dir2/file", true),
        ("**/dir2/**", "dir/dir2/dir2/file", true),
        ("**file", "file", true),
        ("**file", "dir/file", true),
        ("**/file", "dir/file", true),
        ("**file", "dir/dir/file", true),
        ("**/file*", "dir/dir/file", true),
        ("**/file*", "dir/dir/file.txt", true),
        ("**/file*txt", "dir/dir/file.txt", true),
        ("**/file*.txt*", "dir/dir/file.txt", true),
        ("**/**/*.txt", "dir/dir/file.txt", true),
        ("**/**/*.txt2", "dir/dir/file.txt", false),
        ("**/*.txt", "file.txt", true),
        ("a**/*.txt", "a/file.txt", true),
        ("a**/*.txt", "a/dir/file.txt", true),
        ("a/*.txt", "a/dir/file.txt", false),
        ("a/*.txt**", "a/file.txt", true),
        ("a[b-d]e", "ae", false),
        ("a[b-d]e", "ace", true),
        ("a[b-d]e", "aae", false),
        ("a[^b-d]e", "aze", true),
        (".*", ".foo", true),
        (".*", "foo", false),
        ("abc.def", "abcdef", false),
        ("abc.def", "abc.def", true),
        ("abc.def", "abcZdef", false),
        ("abc?def", "abcZdef", true),
        ("abc?def", "abcdef", false),
        ("a\\\\", "a\\", true),
        ("**/foo/bar", "foo/bar", true),
        ("**/foo/bar", "dir/dir2/foo/bar", true),
        ("abc/**", "abc", false),
        ("abc/**", "abc/def/ghi", true),
        ("**/.foo", ".foo", true),
        ("**/.foo", "bar.foo", false),
        ("./bar.*", "bar.foo", true),
        ("a(b)c/def", "a(b)c/def", true),
        ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
        ("fileutils.go", "fileutils.go", true),
        ("*", "fileutils.go", true),
        ("fil*", "dir/fileutils.go", false),
        ("dist/*/", "dist/x", true),
    ];
    for (pattern, path, expect) in table {
        check(pattern, path, expect);
    }
}

// items: X004
#[test]
fn the_last_match_wins_and_parents_count() {
    let table = [
        ("docs", "docs/README.md", true),
        ("docs/*.md", "docs/README.md", true),
        ("*.go !fileutils.go", "fileutils.go", false),
        ("!fileutils.go *.go", "fileutils.go", true),
        ("* !fileutils.go", "fileutils.go", false),
        ("docs !docs", "docs/README.md", false),
        ("docs !docs/", "docs/README.md", false),
        ("docs/* !docs/README.md", "docs/README.md", false),
        ("docs !docs/README.md", "docs/other", true),
        ("** !a/b/c", "a/b/c/d", false),
        ("** !util/docker/web", "util/docker/web/foo", false),
        ("** !util/docker/web util/docker/web/foo", "util/docker/web/foo", true),
        ("** !dist **/*.map", "dist/app.js", false),
        ("** !dist **/*.map", "dist/app.js.map", true),
        ("** !util/docker/web/ util/docker/web/foo", "util/docker/web/bar", false),
        ("node_modules !node_modules/keep", "x/node_modules/y", false),
    ];
    for (patterns, path, expect) in table {
        check(patterns, path, expect);
    }
}

#[test]
fn bad_patterns_are_errors() {
    for bad in ["[", "[^", "a[", "a\\", "[]a]"] {
        assert!(matches!(Matcher::new([bad]), Err(PatternError::Syntax(_))), "{bad}");
    }
    assert_eq!(Matcher::new(["!"]).unwrap_err(), PatternError::LoneExclamation);
    assert!(Matcher::new(["", "  "]).unwrap().is_empty());
}

fn check_prune(patterns: &str, path: &str, expect: bool) {
    let matcher = Matcher::new(patterns.split(' ')).unwrap();
    assert_eq!(matcher.prunes(Path::new(path)), expect, "`{patterns}` at `{path}`");
}

#[test]
fn prunes_only_what_nothing_re_includes() {
    check_prune("node_modules", "node_modules", true);
    check_prune("* !src", "node_modules", true);
    check_prune("* !src/a", "src", false);
    check_prune("* !src/*/a", "src/b", false);
    check_prune("* !src/*/a", "lib", true);
    check_prune("* !**/*.rs", "lib", false);
    check_prune("* !src/**", "src/b", false);
    check_prune("* !src/**", "s", true);
    check_prune("* !src/a/**/x", "src/b", true);
    check_prune("* !src/a/**/x", "src/a/q", false);
}

// items: X004
#[test]
fn hostile_patterns_take_linear_time() {
    let start = std::time::Instant::now();
    let pattern = "**/*a".repeat(100) + "/b";
    let matcher = Matcher::new([pattern, "*".repeat(5000) + "x"]).unwrap();
    let path = "a/".repeat(300) + &"a".repeat(200);
    assert!(!matcher.matches(Path::new(&path)));
    assert!(start.elapsed().as_secs() < 5, "took {:?}", start.elapsed());
}

#[test]
fn selecting_keeps_what_is_included_and_not_excluded() {
    let table: [(&[&str], &[&str], &str, bool); 9] = [
        (&[], &[], "a", false),
        (&[], &["a"], "a", true),
        (&["a"], &[], "a", false),
        (&["a"], &[], "a/b", false),
        (&["a"], &[], "b", true),
        (&["a"], &["a/b"], "a/b", true),
        (&["a"], &["*.md", "!x.md"], "x.md", true),
        (&["*.md"], &["*.md", "!x.md"], "x.md", false),
        (&["a", "!a/b"], &[], "a/b", true),
    ];
    for (include, exclude, path, ignored) in table {
        let matcher = Matcher::selecting(include, exclude).unwrap();
        assert_eq!(matcher.matches(Path::new(path)), ignored, "{include:?} {exclude:?} {path}");
    }
}
