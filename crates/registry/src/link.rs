//! `Link` headers (RFC 8288): where the next page is.

/// Returns the target of the first link with relation `next`.
pub fn next(header: &str) -> Option<&str> {
    let mut rest = header;
    while let Some(start) = rest.find('<') {
        let after = &rest[start + 1..];
        let end = after.find('>')?;
        let (target, tail) = (&after[..end], &after[end + 1..]);
        let parameters = &tail[..tail.find('<').unwrap_or(tail.len())];
        if parameters.split([';', ',']).any(is_next) {
            return Some(target);
        }
        rest = tail;
    }
    None
}

fn is_next(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    let value = value.trim().trim_matches('"');
    name.trim().eq_ignore_ascii_case("rel") && value.split(' ').any(|rel| rel.eq_ignore_ascii_case("next"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, want: Option<&str>) {
        assert_eq!(next(header), want, "{header}");
    }

    #[test]
    fn finds_the_next_page() {
        check("", None);
        check("</v2/a/tags/list?n=1&last=x>; rel=\"next\"", Some("/v2/a/tags/list?n=1&last=x"));
        check("</p>; rel=prev, </n>; title=\"t\"; rel=next", Some("/n"));
        check("<https://other/x>;REL=\"prefetch next\"", Some("https://other/x"));
        check("<a>; rel=\"last\"", None);
        check("<never closed; rel=next", None);
    }
}
