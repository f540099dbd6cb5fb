//! The messages of broken instructions, word for word: F004, F011-F012, F022-F023, F026, F037, F045, A001, A013, G001,
//! C001, I007-I011.

use crate::read;
use rbuild_dockerfile::{Diagnostic, first_error};

fn check(rows: &[(&str, &str)]) {
    for (source, want) in rows {
        let (_, diagnostics) = read(source);
        let texts: Vec<String> = diagnostics.iter().map(Diagnostic::to_string).collect();
        assert_eq!(texts, [*want], "{source:?}");
    }
}

/// Each row is a line behind `FROM a`, and its message behind the prefix.
fn check_lines(rows: &[(&str, &str)]) {
    for (line, want) in rows {
        check(&[(&format!("FROM a\n{line}"), &format!("dockerfile parse error on line 2: {want}"))]);
    }
}

// items: F004
#[test]
fn f004_empty_files() {
    check(&[
        ("", "the Dockerfile cannot be empty"),
        ("\n\n", "file with no instructions"),
        ("# only\n# comments\n", "file with no instructions"),
        ("ARG a=b\n", "dockerfile contains no stages to build"),
        ("RUN x\nFROM a\n", "no build stage in current context"),
    ]);
}

// items: F011
#[test]
fn f011_unknown_instructions() {
    check_lines(&[
        ("FNTRYPOINT x", "unknown instruction: FNTRYPOINT (did you mean ENTRYPOINT?)"),
        ("copi x", "unknown instruction: copi (did you mean copy?)"),
        ("Workdri x", "unknown instruction: Workdri (did you mean workdir?)"),
        ("foo bar", "unknown instruction: foo (did you mean from?)"),
        ("xyzzy bar", "unknown instruction: xyzzy"),
        ("\\", "unknown instruction: "),
    ]);
}

// items: F012
#[test]
fn f012_flags() {
    check_lines(&[
        ("RUN --mont=x y", "unknown flag: --mont (did you mean mount?)"),
        ("COPY --form=a b c", "unknown flag: --form (did you mean from?)"),
        ("WORKDIR --x /y", "unknown flag: --x"),
        ("COPY --from=a --from=b c d", "duplicate flag specified: --from"),
        ("COPY --chown a b", "missing a value on flag: --chown"),
        ("COPY --exclude a b", "missing a value on flag: --exclude"),
        ("COPY --fron a b", "unknown flag: --fron (did you mean from?)"),
        ("RUN --network=hots x", "invalid network mode \"hots\" (did you mean host?)"),
        ("RUN --security=insecur x", "security \"insecur\" is not valid (did you mean insecure?)"),
        ("COPY --link=true --link=false a b", "duplicate flag specified: --link"),
        ("COPY --link= a b", "missing a value on flag: --link"),
        ("COPY --link=yes a b", "expecting boolean value for flag --link, not: yes"),
        ("RUN --network=foo x", "invalid network mode \"foo\""),
        ("RUN --network= x", "invalid network mode \"\""),
        ("RUN --security=foo x", "security \"foo\" is not valid"),
        ("RUN --device=a,b x", "invalid field 'b' must be a key=value pair"),
    ]);
}

// items: F012
#[test]
fn booleans_of_flags() {
    for (value, expect) in
        [("", true), ("=true", true), ("=TRUE", true), ("=True", true), ("=false", false), ("=FALSE", false)]
    {
        let line = format!("COPY --link{value} a b");
        let rbuild_dockerfile::Instruction::Copy(copy) = crate::instruction(&line) else { panic!("{line}") };
        assert_eq!(copy.link, expect, "{line}");
    }
}

// items: F022 F023 F026
#[test]
fn f022_f023_f026_directives() {
    check(&[
        ("# escape=`\n# Escape=`\nFROM a", "only one escape parser directive can be used"),
        ("# escape=x\nFROM a", "invalid escape token 'x' does not match ` or \\"),
        ("# check=foo=bar\nFROM a", "failed to parse check options: invalid check option \"foo\""),
        ("# check=skp=all\nFROM a", "failed to parse check options: invalid check option \"skp\" (did you mean skip?)"),
        ("# check=skip\nFROM a", "failed to parse check options: invalid check option \"skip\""),
        (
            "# check=error=maybe\nFROM a",
            "failed to parse check options: failed to parse check option \"error=maybe\": strconv.ParseBool: parsing \
             \"maybe\": invalid syntax",
        ),
    ]);
}

// items: F045
#[test]
fn f045_arrays_of_other_things() {
    let message = "when using JSON array syntax, arrays must be comprised of strings only";
    for line in ["RUN [1]", "CMD [\"a\", null]", "COPY [\"a\", [\"b\"]]", "VOLUME [{}]", "ONBUILD RUN [true]"] {
        check(&[(&format!("FROM a\n{line}"), message)]);
    }
}

// items: A001 A013
#[test]
fn a013_keys_and_values() {
    check(&[
        ("FROM a\nENV x", "ENV must have two arguments"),
        ("FROM a\nLABEL x", "LABEL must have two arguments"),
        ("FROM a\nENV a=b c", "Syntax error - can't find = in \"c\". Must be of the form: name=value"),
        ("FROM a\nONBUILD ENV x", "ENV must have two arguments"),
    ]);
    check_lines(&[
        ("ENV", "ENV requires at least one argument"),
        ("ENV =x", "ENV names can not be blank"),
        ("LABEL a=b =x", "LABEL names can not be blank"),
        ("ARG =x", "ARG names can not be blank"),
        ("ARG", "ARG requires at least one argument"),
    ]);
}

// items: G001
#[test]
fn g001_from() {
    check(&[
        ("FROM", "dockerfile parse error on line 1: FROM requires either one or three arguments"),
        ("FROM a b", "dockerfile parse error on line 1: FROM requires either one or three arguments"),
        ("FROM a is b", "dockerfile parse error on line 1: FROM requires either one or three arguments"),
        (
            "FROM a AS 1b",
            "dockerfile parse error on line 1: invalid name for build stage: \"1b\", name can't start with a number or \
             contain symbols",
        ),
        ("FROM --platfrm=x a", "dockerfile parse error on line 1: unknown flag: --platfrm (did you mean platform?)"),
        // What follows a FROM that cannot be read is not blamed for it.
        ("FROM a b\nRUN x\nENV y=z", "dockerfile parse error on line 1: FROM requires either one or three arguments"),
    ]);
}

// items: F037
#[test]
fn c001_f037_copy_and_add() {
    check_lines(&[
        (
            "COPY a",
            "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        (
            "ADD --chown=x",
            "ADD requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        ("COPY a <<EOF\nEOF", "COPY cannot accept a heredoc as a destination"),
        ("ADD a <<EOF\nEOF", "ADD cannot accept a heredoc as a destination"),
    ]);
}

#[test]
fn i007_to_i012_metadata() {
    check_lines(&[
        ("USER", "USER requires exactly one argument"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("MAINTAINER", "MAINTAINER requires exactly one argument"),
        ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ("VOLUME []", "VOLUME requires at least one argument"),
        ("VOLUME [\"a\", \" \"]", "VOLUME specified can not be an empty string"),
        ("SHELL", "SHELL requires at least one argument"),
        ("SHELL []", "SHELL requires at least one argument"),
        ("SHELL bash -c", "SHELL requires the arguments to be in JSON form"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("onbuild from x", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD MAINTAINER x", "MAINTAINER isn't allowed as an ONBUILD trigger"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK CMD []", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK curl x", "Unknown type \"CURL\" in HEALTHCHECK (try CMD)"),
        ("HEALTHCHECK --interval=1us CMD x", "Interval \"interval\" cannot be less than 1ms"),
        ("HEALTHCHECK --timeout=-1s CMD x", "Interval \"timeout\" cannot be less than 1ms"),
        ("HEALTHCHECK --timeout=5 CMD x", "time: missing unit in duration \"5\""),
        ("HEALTHCHECK --timeout=5x CMD x", "time: unknown unit \"x\" in duration \"5x\""),
        ("HEALTHCHECK --timeout=x CMD x", "time: invalid duration \"x\""),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)"),
        ("HEALTHCHECK --retries=x CMD x", "strconv.ParseInt: parsing \"x\": invalid syntax"),
    ]);
}

/// What BuildKit stops at: anything wrong with the cut of the file comes before what is wrong with arguments.
#[test]
fn first_error_is_buildkits() {
    let (_, diagnostics) = read("FROM a\nCOPY x\nFOO\nENV y\n");
    assert_eq!(diagnostics.len(), 3);
    assert_eq!(first_error(&diagnostics).unwrap().to_string(), "ENV must have two arguments");
    let (_, diagnostics) = read("FROM a\nCOPY x\nFOO\n");
    assert!(first_error(&diagnostics).unwrap().to_string().contains("COPY requires"));
}
