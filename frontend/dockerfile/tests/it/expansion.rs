//! Word expansion: S001-S014, F036.

use rbuild_dockerfile::Lexer;
use rbuild_dockerfile::expand::{Empty, ExpandCause, MAX_NESTING, MAX_VALUE};
use std::collections::BTreeMap;

fn environment() -> BTreeMap<String, String> {
    [
        ("HOME", "/root"),
        ("EMPTY", ""),
        ("FILE", "archive.tar.gz"),
        ("PATH_LIKE", "/usr/lib/x/lib"),
        ("SPACED", "  a b  c "),
        ("PORTS", "3000 4000/udp"),
        ("STAR", "a*b*c"),
        ("LINES", "one\ntwo\nthree"),
        ("ÄÖ", "umlaut"),
        ("_x1", "under"),
        ("SPECIAL", "()[]{}^$.*?|\\x"),
        ("SLASH", "\\*/"),
        ("GLOBBED", "/foo*/*/*.txt"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Expands `word`; `Err` rows hold a part of the message.
fn check(lexer: Lexer, rows: &[(&str, Result<&str, &str>)]) {
    for (word, want) in rows {
        match (lexer.word(word, &environment()), want) {
            (Ok(got), Ok(want)) => assert_eq!(got.value, *want, "{word:?}"),
            (Err(got), Err(want)) => assert!(got.to_string().contains(want), "{word:?}: {got}"),
            (got, want) => panic!("{word:?}: {got:?}, not {want:?}"),
        }
    }
}

// items: S001
#[test]
fn s001_names() {
    check(
        Lexer::new('\\'),
        &[
            ("$HOME", Ok("/root")),
            ("${HOME}x", Ok("/rootx")),
            ("a$HOME/b", Ok("a/root/b")),
            ("$_x1.", Ok("under.")),
            ("$ÄÖ!", Ok("umlaut!")),
            ("[$12ab]", Ok("[ab]")),
            ("$0x", Ok("x")),
            ("$@$*$#$?$-$$$!", Ok("")),
            ("$@@", Ok("@")),
            ("${@}${1}${?:-q}", Ok("q")),
            ("$HOMEx", Ok("")),
            ("$home", Ok("")),
        ],
    );
}

// items: S002
#[test]
fn s002_lone_dollar() {
    check(Lexer::new('\\'), &[("$", Ok("$")), ("a$.b", Ok("a$.b")), ("$ $", Ok("$ $")), ("\"$\"", Ok("$"))]);
}

// items: S003
#[test]
fn s003_bad_substitution() {
    let bad = Err("syntax error: bad substitution");
    let missing = Err("syntax error: missing '}'");
    check(
        Lexer::new('\\'),
        &[
            ("${}", bad),
            ("${:x}", bad),
            ("${:-x}", bad),
            ("${{x}", bad),
            ("${", missing),
            ("${HOME", missing),
            ("${HOME:", missing),
            ("${HOME:-x", missing),
            ("${HOME:-${EMPTY}", missing),
            ("${HOME/a/b", missing),
            ("${HOME/a", Err("syntax error: missing '/' in ${}")),
            ("${HOME/a}", Err("syntax error: missing '/' in ${}")),
            ("${.}", Err("unsupported modifier (.) in substitution")),
            ("${HOME:x}", Err("unsupported modifier (:x) in substitution")),
            ("${HOME:=x}", Err("unsupported modifier (:=) in substitution")),
            ("${HOME=x}", Err("unsupported modifier (=) in substitution")),
            (
                "'x",
                Err("failed to process \"'x\": unexpected end of statement while looking for matching single-quote"),
            ),
            ("\"x", Err("looking for matching double-quote")),
        ],
    );
}

// items: S004
#[test]
fn s004_defaults_alternatives_requirements() {
    check(
        Lexer::new('\\'),
        &[
            ("${NO:-w}", Ok("w")),
            ("${EMPTY:-w}", Ok("w")),
            ("${EMPTY-w}", Ok("")),
            ("${HOME-w}", Ok("/root")),
            ("${HOME:+w}", Ok("w")),
            ("${EMPTY:+w}", Ok("")),
            ("${EMPTY+w}", Ok("w")),
            ("${NO+w}", Ok("")),
            ("${NO:-a${NO:-b${HOME}}c}", Ok("ab/rootc")),
            ("${NO:-'a b'\"$HOME\"}", Ok("a b/root")),
            ("${NO:-\\$HOME}", Ok("$HOME")),
            ("${NO:-a\\}b}", Ok("a}b")),
            ("${NO:-{}}", Ok("{}")),
            ("${HOME?x}", Ok("/root")),
            ("${NO?}", Err("NO: is not allowed to be unset")),
            ("${NO:?}", Err("NO: is not allowed to be unset")),
            ("${EMPTY:?}", Err("EMPTY: is not allowed to be empty")),
            ("${EMPTY?x}", Ok("")),
            ("${NO:?set $HOME first}", Err("NO: set /root first")),
            // What the alternative names is looked at even when it is not taken.
            ("${HOME:-${NO:?inner}}", Err("NO: inner")),
        ],
    );
}

// items: S005 S007
#[test]
fn s005_s007_prefixes_and_suffixes() {
    check(
        Lexer::new('\\'),
        &[
            ("${FILE%.*}", Ok("archive.tar")),
            ("${FILE%%.*}", Ok("archive")),
            ("${FILE#*.}", Ok("tar.gz")),
            ("${FILE##*.}", Ok("gz")),
            ("${PATH_LIKE##*/}", Ok("lib")),
            ("${PATH_LIKE%/lib}", Ok("/usr/lib/x")),
            ("${PATH_LIKE%%/lib*}", Ok("/usr")),
            ("${FILE#archiv?}", Ok(".tar.gz")),
            ("${FILE#nope}", Ok("archive.tar.gz")),
            ("${FILE#}", Ok("archive.tar.gz")),
            ("${FILE%}", Ok("archive.tar.gz")),
            ("${FILE##*}", Ok("")),
            ("${FILE#*}", Ok("archive.tar.gz")),
            ("${STAR#a\\*}", Ok("b*c")),
            ("${STAR%%\\**}", Ok("a")),
            ("${STAR%\\*?}", Ok("a*b")),
            ("${NO#x}", Ok("")),
            ("${FILE#${NO:-arch}}", Ok("ive.tar.gz")),
            // `*` and `?` stay within a line.
            ("${LINES#*w}", Ok("one\ntwo\nthree")),
            ("${LINES#*e}", Ok("\ntwo\nthree")),
            ("${LINES##*e}", Ok("\ntwo\nthree")),
            ("${SPECIAL#()[]{\\}^$.\\*\\?|\\\\}", Ok("x")),
            ("${FILE#[a]}", Ok("archive.tar.gz")),
            ("${FILE#\\a}", Err("invalid pattern (\\a) in substitution: invalid escape '\\a'")),
            ("${FILE:#a}", Err("unsupported modifier (:#) in substitution")),
            ("${FILE:%a}", Err("unsupported modifier (:%) in substitution")),
        ],
    );
}

// items: S006
#[test]
fn s006_replacement() {
    check(
        Lexer::new('\\'),
        &[
            ("${PATH_LIKE/lib/LIB}", Ok("/usr/LIB/x/lib")),
            ("${PATH_LIKE//lib/LIB}", Ok("/usr/LIB/x/LIB")),
            ("${PATH_LIKE//\\//:}", Ok(":usr:lib:x:lib")),
            ("${PATH_LIKE/\\/usr/}", Ok("/lib/x/lib")),
            ("${FILE/.*/}", Ok("archive")),
            ("${FILE//?a/_}", Ok("archive._r.gz")),
            ("${FILE/x/y}", Ok("archive.tar.gz")),
            ("${EMPTY/x/y}", Ok("")),
            ("${NO/x/y}", Ok("")),
            ("${FILE//nope/}", Ok("archive.tar.gz")),
            ("${GLOBBED/$SLASH/.} ${GLOBBED//$SLASH/.}", Ok("/foo.*/*.txt /foo..*.txt")),
            // Only with `//` is `$0` in the replacement the text replaced and any other `$name` nothing.
            ("${FILE//tar/<\\$0>}", Ok("archive.<\\tar>.gz")),
            ("${FILE//tar/'<$0>'}", Ok("archive.<tar>.gz")),
            ("${FILE//tar/'<${0}$1x$$>'}", Ok("archive.<tar$>.gz")),
            ("${FILE/tar/'<$0>'}", Ok("archive.<$0>.gz")),
            ("${FILE//EMPTY/}", Ok("archive.tar.gz")),
            ("${FILE/$EMPTY/>}", Ok(">archive.tar.gz")),
            ("${HOME//$EMPTY/-}", Ok("-/-r-o-o-t-")),
        ],
    );
}

// items: S008
#[test]
fn s008_quotes_and_escapes() {
    check(
        Lexer::new('\\'),
        &[
            ("'a $HOME \\ \"b'", Ok("a $HOME \\ \"b")),
            ("\"a $HOME 'b'\"", Ok("a /root 'b'")),
            ("\"\\\"\\$\\\\\\n\"", Ok("\"$\\\\n")),
            ("a\\nb\\ c", Ok("anb c")),
            ("\\$HOME", Ok("$HOME")),
            ("\\\\$HOME", Ok("\\/root")),
            ("end\\", Ok("end")),
            ("a'b'\"c\"d", Ok("abcd")),
            ("foo%sbar", Ok("foo%sbar")),
        ],
    );
}

// items: S009
#[test]
fn s009_escape_token() {
    check(Lexer::new('`'), &[("C:\\dir`$x", Ok("C:\\dir$x")), ("\"`\"\"", Ok("\"")), ("a`", Ok("a"))]);
}

/// Section 14, trap 12: in the body of an inline file quotes stay and the escape token is always `\`.
// items: F036 S009 T12
#[test]
fn f036_heredoc_bodies() {
    check(
        Lexer::heredoc(),
        &[
            ("a='$HOME' \"$HOME\"\n", Ok("a='/root' \"/root\"\n")),
            ("\\$HOME \\\\ \\\n", Ok("$HOME \\ \n")),
            ("it's $NO.\n", Ok("it's .\n")),
            ("`x`\n", Ok("`x`\n")),
            ("cat <<X\n", Ok("cat <<X\n")),
        ],
    );
}

// items: S010
#[test]
fn s010_words_are_split_after_expansion() {
    let rows: &[(&str, &[&str])] = &[
        ("$PORTS", &["3000", "4000/udp"]),
        ("\"$PORTS\"", &["3000 4000/udp"]),
        ("80$PORTS", &["803000", "4000/udp"]),
        ("a${SPACED}b", &["a", "a", "b", "c", "b"]),
        ("a\\ b", &["a b"]),
        ("'a b'c d", &["a bc", "d"]),
        ("80${NO:-80}", &["8080"]),
        ("$EMPTY", &[]),
        ("\"\"", &[]),
    ];
    for (word, want) in rows {
        assert_eq!(Lexer::new('\\').words(word, &environment()).unwrap().words, *want, "{word:?}");
    }
}

// items: S011
#[test]
fn s011_used_and_unset_names() {
    let expansion = Lexer::new('\\').word("$HOME ${NO:-${EMPTY}} $OTHER $HOME", &environment()).unwrap();
    assert_eq!(expansion.value, "/root   /root");
    assert_eq!(Vec::from_iter(expansion.used), ["EMPTY", "HOME"]);
    assert_eq!(Vec::from_iter(expansion.unset), ["NO", "OTHER"]);
    let error = Lexer::new('\\').word("$NO ${OTHER?}", &environment()).unwrap_err();
    assert_eq!(Vec::from_iter(error.unset), ["NO", "OTHER"]);
}

// items: S012
#[test]
fn s012_names_for_progress() {
    check(
        Lexer::progress('\\'),
        &[
            ("RUN echo \"$HOME\" '$HOME' $NO ${NO}", Ok("RUN echo \"/root\" '$HOME' $NO ${NO}")),
            ("${NO:-a} ${NO#b} ${NO/c/d} ${HOME:+x}", Ok("${NO:-a} ${NO#b} ${NO/c/d} x")),
        ],
    );
}

// items: S014
#[test]
fn s014_names_keep_their_case() {
    check(Lexer::new('\\'), &[("$Home$HOME", Ok("/root"))]);
}

/// X42: nesting is capped and says so.
#[test]
fn x42_nesting_is_capped() {
    let nested = |depth: usize| format!("{}x{}", "${A:-".repeat(depth), "}".repeat(depth));
    assert_eq!(Lexer::new('\\').word(&nested(MAX_NESTING), &Empty).unwrap().value, "x");
    let error = Lexer::new('\\').word(&nested(1_000_000), &Empty).unwrap_err();
    assert_eq!(error.cause, ExpandCause::TooDeep("A".to_owned()));
    assert!(error.to_string().ends_with("substitutions nest deeper than 200 at variable \"A\""), "{error}");
    let quoted = "\"${A:-".repeat(100_000);
    assert!(matches!(Lexer::new('\\').word(&quoted, &Empty).unwrap_err().cause, ExpandCause::TooDeep(_)));
}

/// X46: a value grows to 1 MiB and not further, by whatever way.
#[test]
fn x46_values_are_capped() {
    let kib = "x".repeat(1024);
    let environment = BTreeMap::from([("K".to_owned(), kib), ("M".to_owned(), "ab".repeat(MAX_VALUE / 2))]);
    let word = |word: &str| Lexer::new('\\').word(word, &environment);
    assert_eq!(word(&"$K".repeat(1024)).unwrap().value.len(), MAX_VALUE);
    let too_long = [
        "$K".repeat(1025),
        format!("\"{}\"", "$K".repeat(1025)),
        "$M$M".to_owned(),
        "${M//a/aa}".to_owned(),
        "${M/a/$K}".to_owned(),
        "${NO:-$M$M}".to_owned(),
    ];
    for text in too_long {
        let cause = word(&text).unwrap_err().cause;
        assert!(matches!(&cause, ExpandCause::TooLong(name) if name == "K" || name == "M"), "{cause}");
    }
}

/// X46: an error repeats the beginning of what expansion has made long.
#[test]
fn x46_errors_are_short() {
    let environment = BTreeMap::from([("M".to_owned(), "x".repeat(MAX_VALUE))]);
    let name = "n".repeat(MAX_VALUE);
    let words = [
        "${M#\\x$M}".to_owned(),
        "${NO:?$M}".to_owned(),
        format!("${{{name}:?}}"),
        format!("${{{name}:-$M$M}}"),
        format!("${{{name}:-{}", "${A:-".repeat(MAX_NESTING + 1)),
    ];
    for word in words {
        let error = Lexer::new('\\').word(&word, &environment).unwrap_err().to_string();
        assert!(error.len() < 2000, "{} bytes", error.len());
    }
}

/// X47: patterns take time in pattern times text, and what would take too long is refused.
#[test]
fn x47_patterns_are_bounded() {
    let environment = BTreeMap::from([("A".to_owned(), "a".repeat(MAX_VALUE))]);
    let stars = "*a".repeat(20_000);
    for word in [format!("${{A##{stars}b}}"), format!("${{A%%b{stars}}}"), format!("${{A//b{stars}/x}}")] {
        let cause = Lexer::new('\\').word(&word, &environment).map_err(|error| error.cause);
        assert!(matches!(cause, Err(ExpandCause::Pattern { .. })));
    }
    let expansion = Lexer::new('\\').word("${A//a/b}", &environment).unwrap();
    assert_eq!(expansion.value, "b".repeat(MAX_VALUE));
}
