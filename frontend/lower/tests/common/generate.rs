//! Dockerfiles of any size that use the whole language.

/// Returns a Dockerfile of `count` stages, about 17 lines each.
pub(crate) fn stages(count: usize) -> String {
    let mut source = String::from("# syntax=docker/dockerfile:1\nARG BASE=alpine\n");
    for stage in 0..count {
        let before = stage.saturating_sub(1);
        let from = if stage % 5 == 0 { "${BASE}".to_owned() } else { format!("stage{before}") };
        source.push_str(&format!("FROM --platform=$TARGETPLATFORM {from} AS stage{stage}\n"));
        source.push_str("ARG VERSION=1.2 NAME\nENV A=1 B=\"two words\" C=$A-${VERSION:-x}\n# what it needs\n");
        source.push_str("RUN --mount=type=cache,target=/var/cache/apk apk add \\\n    gcc \\\n    make\n");
        let copied = if stage == 0 { "busybox:1".to_owned() } else { format!("stage{before}") };
        source.push_str(&format!("COPY --chown=1:1 --from={copied} /etc/a /etc/b /c/\n"));
        source.push_str("COPY <<EOF /etc/conf\nkey = $A\nother = ${B}\nEOF\nWORKDIR /srv/$VERSION\n");
        source.push_str("LABEL org.example.name=\"$NAME\" x=y\nEXPOSE 80 443/udp\nCMD [\"serve\", \"--now\"]\n");
    }
    source.push_str(&format!(
        "FROM scratch\n{}",
        (0..count).map(|stage| format!("COPY --from=stage{stage} / /{stage}\n")).collect::<String>()
    ));
    source
}

/// Returns a Dockerfile of about `size` bytes.
pub(crate) fn of_size(size: usize) -> String {
    let one = stages(60).len() / 60;
    stages(size / one)
}
