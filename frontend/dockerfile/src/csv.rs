//! One line of comma-separated values, the form of `--mount` and `--device`.

/// Splits `line` at commas; a field in double quotes may hold commas, and quotes as `""`.
///
/// # Errors
/// Says where a quote is wrong; an empty line is refused.
pub fn fields(line: &str) -> Result<Vec<String>, String> {
    let line = line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line));
    if line.is_empty() {
        return Err("EOF".to_owned());
    }
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let rest = &line[at..];
        if !rest.starts_with('"') {
            let end = rest.find(',').unwrap_or(rest.len());
            if let Some(quote) = rest[..end].find('"') {
                return Err(failure(at + quote, "bare \" in non-quoted-field"));
            }
            fields.push(rest[..end].to_owned());
            at += end;
        } else {
            let (field, end) = quoted(line, at + 1)?;
            fields.push(field);
            at = end;
        }
        if at == line.len() {
            return Ok(fields);
        }
        at += 1;
    }
}

/// Reads a quoted field whose opening quote stands before `start`; gives it and where the comma or end is.
fn quoted(line: &str, start: usize) -> Result<(String, usize), String> {
    const REASON: &str = "extraneous or missing \" in quoted-field";
    let mut field = String::new();
    let mut at = start;
    loop {
        let quote = at + line[at..].find('"').ok_or_else(|| failure(at, REASON))?;
        field.push_str(&line[at..quote]);
        at = quote + 1;
        match line.as_bytes().get(at) {
            Some(b'"') => {
                field.push('"');
                at += 1;
            }
            None | Some(b',') => return Ok((field, at)),
            Some(_) => return Err(failure(quote, REASON)),
        }
    }
}

fn failure(at: usize, reason: &str) -> String {
    format!("parse error on line 1, column {}: {reason}", at + 1)
}
