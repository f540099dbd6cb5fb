//! What COPY and ADD make of files: rows of instructions and the tree that comes of them.

use crate::files::Files;

// items: C002 C003 C004
#[tokio::test(flavor = "multi_thread")]
async fn c003_destinations() {
    let files = Files::new("a=A bar.go=bar foo.go=foo sub/dir1/dir2/foo=deep d/x=X d/e/y=Y");
    files
        .check(&[
            ("COPY a /", "a=A"),
            ("COPY a b", "b=A"),
            ("COPY a d/", "d/ d/a=A"),
            ("COPY a d/.", "d/ d/a=A"),
            ("WORKDIR /w\nCOPY a .", "w/ w/a=A"),
            ("WORKDIR /w\nENV empty=\nCOPY a $empty", "w/ w/a=A"),
            ("WORKDIR /w\nENV empty=\nCOPY --link a $empty", "w/ w/a=A"),
            ("WORKDIR /w\nCOPY --link a .", "w/ w/a=A"),
            ("WORKDIR /w/v\nCOPY a ../", "w/ w/a=A w/v/"),
            ("WORKDIR /w\nCOPY a ./p/q", "w/ w/p/ w/p/q=A"),
            // Into a directory that is there, under its own name; else it is the file.
            ("COPY d /x\nCOPY a /x", "x/ x/a=A x/e/ x/e/y=Y x/x=X"),
            ("COPY d /x\nCOPY a /x/e/", "x/ x/e/ x/e/a=A x/e/y=Y x/x=X"),
            ("COPY *.go /go/", "go/ go/bar.go=bar go/foo.go=foo"),
            ("COPY f*.go foo2.go", "foo2.go=foo"),
            // No slash, no directory: the last one is the file.
            ("COPY bar.go foo.go one", "one=foo"),
            ("COPY *.go one", "one=foo"),
            ("COPY [\"a\", \"with blank/\"]", "with blank/ with blank/a=A"),
            // A directory is its content, however it is written.
            ("COPY d x", "x/ x/e/ x/e/y=Y x/x=X"),
            ("COPY d/ x", "x/ x/e/ x/e/y=Y x/x=X"),
            ("COPY d/. x/", "x/ x/e/ x/e/y=Y x/x=X"),
            ("COPY sub/* /s/", "s/ s/dir2/ s/dir2/foo=deep"),
            ("COPY sub/*/dir2/foo /s/", "s/ s/foo=deep"),
            ("COPY sub/*/dir2/foo /s/bar", "s/ s/bar=deep"),
            ("COPY a d /both/", "both/ both/a=A both/e/ both/e/y=Y both/x=X"),
        ])
        .await;
}

// items: C005 C006 C011
#[tokio::test(flavor = "multi_thread")]
async fn c006_owners_and_modes_of_directories() {
    let files = Files::new("a=A d/sub/x=X");
    files.mode("d", 0o700);
    files.mode("d/sub", 0o711);
    files
        .check(&[
            ("COPY a /p/q/a", "p/ p/q/ p/q/a=A"),
            ("COPY --chmod=777 a /p/q/a", "p/[777] p/q/[777] p/q/a[777]=A"),
            ("COPY --chmod=777 a /p/a\nCOPY --chmod=770 a /p/q/a", "p/[777] p/a[777]=A p/q/[770] p/q/a[770]=A"),
            ("COPY --chmod=u=rwx a /p/a", "p/ p/a[744]=A"),
            ("COPY --chown=3:4 a /p/q/a", "p/[3:4] p/q/[3:4] p/q/a[3:4]=A"),
            (
                "FROM users\nCOPY --chown=app d /p/q",
                "p/[1000:1001] p/q/[1000:1001] p/q/sub/[711][1000:1001] p/q/sub/x[1000:1001]=X",
            ),
            // The directory that is named was made before it is copied: what it was made like stays.
            ("COPY d /new", "new/ new/sub/[711] new/sub/x=X"),
            (
                "COPY --from=owned /dir /new",
                "new/ new/sub/[700][101:201] new/sub/nested[700][101:201]=A new/top[750][102:202]=A",
            ),
            (
                "COPY --from=owned --chown=300:400 /dir /new",
                "new/[300:400] new/sub/[700][300:400] new/sub/nested[700][300:400]=A new/top[750][300:400]=A",
            ),
            ("COPY --from=owned /file .", "file[100:200]=A"),
            // What was there stays as it is, unless a directory below the one that is named is copied onto it.
            (
                "FROM existing\nCOPY --from=owned /dir/. /have",
                "have/[711][500:600] have/file[711][500:600]=A have/old/[700][501:601] have/old/file[700][501:601]=A \
                 have/sub/[700][101:201] have/sub/nested[700][101:201]=A have/top[750][102:202]=A",
            ),
            (
                "FROM existing\nCOPY --from=owned --chown=300:400 /dir /have",
                "have/[711][500:600] have/file[711][500:600]=A have/old/[700][501:601] have/old/file[700][501:601]=A \
                 have/sub/[700][300:400] have/sub/nested[700][300:400]=A have/top[750][300:400]=A",
            ),
            (
                "FROM existing\nCOPY --from=owned /dir/sub /have/old",
                "have/[711][500:600] have/file[711][500:600]=A have/old/[700][501:601] have/old/file[700][501:601]=A \
                 have/old/nested[700][101:201]=A",
            ),
        ])
        .await;
}

// items: C007 C008
#[tokio::test(flavor = "multi_thread")]
async fn c007_symbolic_links() {
    let files = Files::new(
        "bar=bar foo>bar sub/lfile=lfile sub/l0>subfile sub/subfile=sub sub/l1>second sub/second>baz sub/baz=baz \
         link>sub abs>/sub up>../../sub all/in>../bar out>/etc/passwd loop>loop \
         img/to>/dir img/up>../../../dir img/dir/",
    );
    files
        .check(&[
            ("COPY foo /", "foo=bar"),
            ("COPY sub/l* links/", "links/ links/l0=sub links/l1=baz links/lfile=lfile"),
            ("COPY link/lfile .", "lfile=lfile"),
            ("COPY abs/lfile up/subfile /x/", "x/ x/lfile=lfile x/subfile=sub"),
            // A pattern goes through directories only.
            ("COPY l*k/lfile /x", ""),
            ("COPY ../../bar /../../sub/baz /x/", "x/ x/bar=bar x/baz=baz"),
            // Below what is named, links stay links.
            ("COPY all /", "in>../bar"),
            ("COPY all/in x", "x=bar"),
            ("COPY out /", "error: \"/out\": not found"),
            ("COPY loop /", "error: loop"),
            // Links of the image are followed, and cannot lead out of it.
            ("COPY img /\nCOPY bar /to/", "dir/ dir/bar=bar to>/dir up>../../../dir"),
            ("COPY img /\nCOPY bar /up/x/y", "dir/ dir/x/ dir/x/y=bar to>/dir up>../../../dir"),
            ("COPY img /\nCOPY --link bar /to/", "dir/ to/ to/bar=bar up>../../../dir"),
            ("COPY img/ /\nFROM scratch\nCOPY --from=3 /to/ /x/\nCOPY --from=3 /to /y", "x/ y/"),
        ])
        .await;
}

// items: C009 D001
#[tokio::test(flavor = "multi_thread")]
async fn c009_wildcards() {
    let files = Files::new("foo=F a1=1 a2=2 b1=3 x/deep/f=D x/f=E [q]=Q star*=S");
    files
        .check(&[
            ("COPY foo nomatch* /", "foo=F"),
            ("COPY nomatch* /d/", ""),
            ("COPY nomatch /d/", "error: \"/nomatch\": not found"),
            ("COPY foo nomatch /d/", "error: \"/nomatch\": not found"),
            ("COPY x/nomatch* /", ""),
            ("COPY nowhere/f* /", ""),
            ("COPY a? /", "a1=1 a2=2"),
            ("COPY [ab]1 /", "a1=1 b1=3"),
            ("COPY [^a]1 /", "b1=3"),
            ("COPY [a-b][0-1] /", "a1=1 b1=3"),
            ("COPY x/*/f /d/", "d/ d/f=D"),
            // No `**`: it is `*` twice, within one part of the path.
            ("COPY x/**/f /d/", "d/ d/f=D"),
            ("COPY **/f /d/", "d/ d/f=E"),
            ("COPY [\"[[]q]\", \"/\"]", "[q]=Q"),
            ("COPY [\"star\\\\*\", \"/\"]", "star*=S"),
            ("COPY [\"[a\", \"/\"]", "error: syntax error in pattern"),
        ])
        .await;
}

// items: C010
#[tokio::test(flavor = "multi_thread")]
async fn c010_from() {
    let files = Files::new("a=A");
    files
        .check(&[
            ("FROM scratch AS w\nWORKDIR /deep\nCOPY a /deep/in\nFROM scratch\nCOPY --from=w deep/in x", "x=A"),
            ("COPY --from=0 etc/group /g", "g=root:x:0:_extra:x:2000:app"),
            ("COPY --from=OWNED /file /f", "f[100:200]=A"),
            ("ARG s=owned\nCOPY --from=$s /file /f", "error: variable expansion is not supported for --from"),
            ("COPY --from=9 / /", "error: invalid stage index 9"),
            ("COPY --from=owned /nothing /", "error: \"/nothing\": not found"),
        ])
        .await;
}

// items: C012 C013 D002
#[tokio::test(flavor = "multi_thread")]
async fn c012_c013_owners_and_modes() {
    let files = Files::new("a=A d/x=X d/l>x");
    files.mode("d", 0o124);
    files
        .check(&[
            ("FROM users\nCOPY --chown=app a /", "a[1000:1001]=A"),
            ("FROM users\nCOPY --chown=app:extra a /", "a[1000:2000]=A"),
            ("FROM users\nCOPY --chown=1234 a /", "a[1234:1234]=A"),
            ("FROM users\nCOPY --chown=1234:extra a /", "a[1234:2000]=A"),
            ("FROM users\nCOPY --chown=:extra a /", "a[0:2000]=A"),
            ("FROM users\nARG who=app\nADD --chown=${who}:5 a /", "a[1000:5]=A"),
            // Who is not known is root, as well as where nobody is.
            ("FROM users\nCOPY --chown=nobody:nogroup a /", "a=A"),
            ("COPY --chown=app:extra a /", "error: invalid user index: -1"),
            ("FROM existing\nCOPY --chown=app:7 a /have/a\nCOPY --from=0 /etc/group /have/file", "have/[711][500:600] have/a[0:7]=A have/file=root:x:0:_extra:x:2000:app have/old/[700][501:601] have/old/file[700][501:601]=A"),
            // The databases of the stage that is copied to count, not those of the source.
            ("FROM users AS own\nCOPY <<X /etc/passwd\napp:x:7:8::/:\nX\nCOPY --from=users --chown=app /etc/group /g", "g[7:8]=root:x:0:_extra:x:2000:app"),
            ("COPY --chmod=0 a /", "a[0]=A"),
            ("COPY --chmod=7755 a /", "a[7755]=A"),
            ("ARG mode=700\nADD --chmod=${mode} a /", "a[700]=A"),
            ("COPY --chmod=600 d /d", "d/[600] d/l>x d/x[600]=X"),
            ("COPY --chmod=go-r a /", "a[600]=A"),
            ("COPY --chmod=u=rwX,go=rX . /", "a=A d/ d/l>x d/x=X"),
            ("COPY --chmod=u+rw,g+r,o-x,o+w . /", "a[646]=A d/[766] d/l>x d/x[646]=X"),
            ("COPY --chmod=a+X . /", "a=A d/[135] d/l>x d/x=X"),
            ("COPY --chmod=u+x,g=u a /", "a[774]=A"),
            ("COPY --chmod=64a a /", "error: invalid chmod parameter: '64a'. it should be octal string and between 0 and 07777"),
            ("COPY --chmod=10000 a /", "error: it should be octal string and between 0 and 07777"),
            ("COPY --chmod=rwx a /", "error: invalid chmod parameter"),
        ])
        .await;
}

// items: C015
#[tokio::test(flavor = "multi_thread")]
async fn c015_parents() {
    let files = Files::new(
        "foo1/foo2/bar=1 foo1/foo2/baz=2 t/a/b/c/d/foo t/a/b/c/d/e/bay t/a/b2/c/d/e/bar t/a/b/c2/d/e/baz t/a/b/c2/d/e2/baz",
    );
    files.mode("foo1", 0o700);
    files
        .check(&[
            ("COPY --parents foo1/foo2/bar /", "foo1/[700] foo1/foo2/ foo1/foo2/bar=1"),
            (
                "WORKDIR /w\nCOPY --parents foo1/foo2/ba* .",
                "w/ w/foo1/[700] w/foo1/foo2/ w/foo1/foo2/bar=1 w/foo1/foo2/baz=2",
            ),
            ("COPY --parents t/a/b/./c/d /o/", "o/ o/c/ o/c/d/ o/c/d/e/ o/c/d/e/bay o/c/d/foo"),
            (
                "COPY --parents t/a/b/c/d/. /o/",
                "o/ o/t/ o/t/a/ o/t/a/b/ o/t/a/b/c/ o/t/a/b/c/d/ o/t/a/b/c/d/e/ o/t/a/b/c/d/e/bay o/t/a/b/c/d/foo",
            ),
            ("COPY --parents ./t/a/b/c/d/foo /o/", "o/ o/t/ o/t/a/ o/t/a/b/ o/t/a/b/c/ o/t/a/b/c/d/ o/t/a/b/c/d/foo"),
            ("COPY --parents t/a/./b/./c/d/foo /o/", "o/ o/b/ o/b/c/ o/b/c/d/ o/b/c/d/foo"),
            (
                "COPY --parents t/a/./*/c/d/e /o/",
                "o/ o/b/ o/b/c/ o/b/c/d/ o/b/c/d/e/ o/b/c/d/e/bay o/b2/ o/b2/c/ o/b2/c/d/ o/b2/c/d/e/ o/b2/c/d/e/bar",
            ),
            ("COPY --parents t/a/b*/./c/**/e /o/", "o/ o/c/ o/c/d/ o/c/d/e/ o/c/d/e/bar o/c/d/e/bay"),
            (
                "COPY --parents t/a/b/c*/./d/**/baz t/a/b*/./c/**/bar /o/",
                "o/ o/c/ o/c/d/ o/c/d/e/ o/c/d/e/bar o/d/ o/d/e/ o/d/e/baz o/d/e2/ o/d/e2/baz",
            ),
            (
                "COPY --parents **/bay /o/",
                "o/ o/t/ o/t/a/ o/t/a/b/ o/t/a/b/c/ o/t/a/b/c/d/ o/t/a/b/c/d/e/ o/t/a/b/c/d/e/bay",
            ),
            (
                "FROM scratch AS s\nCOPY . /in\nFROM scratch\nCOPY --from=s --parents /in/./foo1/foo2/bar /o/",
                "o/ o/foo1/[700] o/foo1/foo2/ o/foo1/foo2/bar=1",
            ),
            ("COPY --parents t/missing /o/", "error: \"/t/missing\": not found"),
            ("COPY --parents t/./missing /o/", "error: \"/t/missing\": not found"),
            ("COPY --parents t/a/none*/c /o/", "o/"),
            ("COPY --parents t/a/b/./c9* /o/", "o/"),
        ])
        .await;
}

// items: C016
#[tokio::test(flavor = "multi_thread")]
async fn c016_excludes() {
    let files = Files::new("a.o=o a.c=c d/b.o=o d/b.c=c d/e/b.o=o d/e/k=k");
    files
        .check(&[
            ("COPY --exclude=*.o . /", "a.c=c d/ d/b.c=c d/b.o=o d/e/ d/e/b.o=o d/e/k=k"),
            ("COPY --exclude=**/*.o . /", "a.c=c d/ d/b.c=c d/e/ d/e/k=k"),
            ("COPY --exclude=**/*.o --exclude=!d/e/b.o . /", "a.c=c d/ d/b.c=c d/e/ d/e/b.o=o d/e/k=k"),
            ("COPY --exclude=d . /", "a.c=c a.o=o"),
            ("COPY --exclude=d --exclude=!d/b.c . /", "a.c=c a.o=o d/ d/b.c=c"),
            // Patterns count from each source, not from the context.
            ("COPY --exclude=e d /", "b.c=c b.o=o"),
            ("COPY --exclude=d/e d /", "b.c=c b.o=o e/ e/b.o=o e/k=k"),
            ("ADD --exclude=**/b.* . /", "a.c=c a.o=o d/ d/e/ d/e/k=k"),
            ("COPY --exclude=b.o d* /x/", "x/ x/b.c=c x/e/ x/e/b.o=o x/e/k=k"),
            ("COPY --exclude=[a . /", "error: syntax error in pattern"),
        ])
        .await;
}

// items: C019 C020 C021
#[tokio::test(flavor = "multi_thread")]
async fn c019_c020_c021_what_is_in_the_way_and_names() {
    let files = Files::new("a=A b=B d/a=inner test-äöü.txt=1 test-%C3%A4%C3%B6%C3%BC.txt=2 test+aou.txt=3");
    files
        .check(&[
            ("COPY a /x\nCOPY b /x\nCOPY a /x", "x=A"),
            ("COPY d /d\nCOPY b /d/a\nCOPY d /d", "d/ d/a=inner"),
            ("COPY a /d\nCOPY d /d", "error: cannot copy to non-directory: /d"),
            ("COPY a /x/a/b\nCOPY d /x", "error: cannot"),
            ("COPY a /f\nCOPY b /f/x", "error: cannot copy to non-directory: /f"),
            ("COPY test-äöü.txt /", "test-äöü.txt=1"),
            ("COPY test-%C3%A4%C3%B6%C3%BC.txt /", "test-%C3%A4%C3%B6%C3%BC.txt=2"),
            ("COPY test+aou.txt /", "test+aou.txt=3"),
            ("COPY test* /", "test+aou.txt=3 test-%C3%A4%C3%B6%C3%BC.txt=2 test-äöü.txt=1"),
        ])
        .await;
}

// items: C017 C018
#[tokio::test(flavor = "multi_thread")]
async fn c017_c018_special_files_links_times_and_attributes() {
    let files = Files::new("a=A");
    let _socket = std::os::unix::net::UnixListener::bind(files.path("sock")).unwrap();
    files.mode("sock", 0o644);
    std::fs::hard_link(files.path("a"), files.path("b")).unwrap();
    let fifo = rustix::fs::mknodat(
        rustix::fs::CWD,
        files.path("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    );
    fifo.unwrap();
    files.mode("pipe", 0o644);
    files
        .check(&[
            ("COPY . /", "a=A b==a pipe| sock"),
            ("COPY a b /", "a=A b=A"),
            ("COPY --chmod=600 . /", "a[600]=A b==a pipe|[600] sock[600]"),
            ("COPY . /\nFROM scratch\nCOPY --from=3 / /x", "x/ x/a=A x/b==x/a x/pipe| x/sock"),
        ])
        .await;
}

// items: C018
#[tokio::test(flavor = "multi_thread")]
async fn c018_times_and_attributes() {
    let files = Files::new("d/a=A");
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000);
    std::fs::File::open(files.path("d/a")).unwrap().set_modified(time).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    let marked = rustix::fs::setxattr(files.path("d/a"), "user.mark", b"x", flags).is_ok();
    let archive = files.archive("FROM scratch\nCOPY d /d\n").await;
    let mut archive = rbuild_tree::tar::Archive::new(&*archive);
    let mut seen = 0;
    while let Some(entry) = archive.next_entry().unwrap() {
        if entry.header.clean_path().ends_with("a") {
            assert_eq!(entry.header.mtime.seconds, 1000);
            assert_eq!(entry.header.xattrs.contains_key(&b"user.mark"[..]), marked);
            seen += 1;
        }
    }
    assert_eq!(seen, 1);
}

// items: C022
#[tokio::test(flavor = "multi_thread")]
async fn c022_what_a_path_is_may_change_between_builds() {
    let files = Files::new("foo/sub/bar=one");
    let tree = async || files.tree("FROM scratch\nCOPY foo /x\n", |_| {}).await.unwrap();
    assert_eq!(tree().await, "x/ x/sub/ x/sub/bar=one");
    std::fs::remove_dir_all(files.path("foo")).unwrap();
    files.add("foo=file");
    assert_eq!(tree().await, "x=file");
    std::fs::remove_file(files.path("foo")).unwrap();
    files.add("foo/sub=two");
    assert_eq!(tree().await, "x/ x/sub=two");
    files.add("l=other");
    std::fs::remove_dir_all(files.path("foo")).unwrap();
    files.add("foo>l");
    assert_eq!(tree().await, "x=other");
}

/// Beside what is used lies a file that nobody lives to see read.
// items: C023 X013
#[tokio::test(flavor = "multi_thread")]
async fn c023_only_what_is_used_is_read() {
    let files = Files::new("used/a=A other/b=B");
    for directory in ["", "used", "other"] {
        let huge = std::fs::File::create(files.path(directory).join("huge")).unwrap();
        huge.set_len(1 << 40).unwrap();
    }
    let named = format!("{}/other", files.context.display());
    let tree =
        files.tree("FROM scratch\nCOPY used/a /\nADD --exclude=huge used /x\nCOPY --from=named b /\n", |request| {
            request.build_contexts.insert("named".to_owned(), named);
        });
    assert_eq!(tree.await.unwrap(), "a=A b=B x/ x/a=A");
}

// items: C014
#[tokio::test(flavor = "multi_thread")]
async fn c014_a_linked_layer_is_the_same_whatever_is_below() {
    let files = Files::new("a=A d/x=X below1=1 below2=2");
    let layers = async |below: &str, copy: &str| {
        let dockerfile = format!("FROM scratch\nCOPY {below} /to/\nENV below={below}\n{copy}\n");
        files.image(&dockerfile).await.rootfs.diff_ids
    };
    for copy in ["COPY --link a d /to/", "COPY --link --chown=3:4 a /to/deep/a", "ADD --link --exclude=x d /to"] {
        let (one, two) = (layers("below1", copy).await, layers("below2", copy).await);
        assert_eq!((one.len(), two.len()), (2, 2), "{copy}");
        assert!(one[0] != two[0] && one[1] == two[1], "{copy}: {one:?} {two:?}");
    }
    files
        .check(&[
            ("COPY d /to\nCOPY --link a /to", "to=A"),
            ("COPY a /to\nCOPY --link d /to/", "to/ to/x=X"),
            ("FROM existing\nCOPY --link a /have/old/", "have/ have/file[711][500:600]=A have/old/ have/old/a=A have/old/file[700][501:601]=A"),
            ("FROM users\nCOPY --link --chown=app a /", "error: invalid user index: -1"),
            ("FROM existing\nCOPY --link --chmod=600 a /have/a", "have/[711][500:600] have/a[600]=A have/file[711][500:600]=A have/old/[700][501:601] have/old/file[700][501:601]=A"),
        ])
        .await;
}
