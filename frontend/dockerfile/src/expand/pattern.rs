//! Glob patterns of `${name#pattern}`, `${name%pattern}` and `${name/pattern/text}`.
//!
//! `*` is any text and `?` any character, both within one line; there are no brackets. Matching walks the set of
//! reachable positions token by token, so that its time is bounded by pattern times text; the steps of a word are
//! counted in `steps`, and more than [`MAX_STEPS`] are refused.

use super::MAX_STEPS;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Literal(char),
    Any,
    Star,
}

fn compile(glob: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = glob.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Star,
            '?' => Token::Any,
            '\\' => match chars.next() {
                // The ends of the substitution are escaped for its sake; to the pattern they are plain.
                Some(c @ ('}' | '/' | '*' | '?' | '\\')) => Token::Literal(c),
                other => return Err(format!("invalid escape '\\{}'", other.unwrap_or(char::REPLACEMENT_CHARACTER))),
            },
            c => Token::Literal(c),
        });
    }
    tokens.dedup_by(|a, b| *a == Token::Star && *b == Token::Star);
    Ok(tokens)
}

/// Takes the shortest (or longest) prefix of `value` that matches off it.
pub(super) fn trim_prefix(glob: &str, value: &str, longest: bool, steps: &mut usize) -> Result<String, String> {
    let text: Vec<char> = value.chars().collect();
    let end = trimmed(&compile(glob)?, &text, longest, steps)?;
    Ok(text[end..].iter().collect())
}

/// Takes the shortest (or longest) suffix of `value` that matches off it.
pub(super) fn trim_suffix(glob: &str, value: &str, longest: bool, steps: &mut usize) -> Result<String, String> {
    let mut tokens = compile(glob)?;
    tokens.reverse();
    let text: Vec<char> = value.chars().rev().collect();
    let end = trimmed(&tokens, &text, longest, steps)?;
    Ok(text[end..].iter().rev().collect())
}

fn trimmed(tokens: &[Token], text: &[char], longest: bool, steps: &mut usize) -> Result<usize, String> {
    let ends = advance(tokens, text, vec![0], steps)?;
    Ok(if longest { ends.last() } else { ends.first() }.copied().unwrap_or(0))
}

/// Replaces the first match; `None` if the result would exceed `limit` bytes.
pub(super) fn replace_first(
    glob: &str,
    value: &str,
    replacement: &str,
    limit: usize,
    steps: &mut usize,
) -> Result<Option<String>, String> {
    let tokens = compile(glob)?;
    let text: Vec<char> = value.chars().collect();
    let Some(start) = starts(&tokens, &text, steps)?.first().copied() else { return Ok(Some(value.to_owned())) };
    let end = advance(&tokens, &text, vec![start], steps)?.last().copied().unwrap_or(start);
    let mut out: String = text[..start].iter().collect();
    out.push_str(replacement);
    out.extend(&text[end..]);
    Ok(Some(out).filter(|out| out.len() <= limit))
}

/// Replaces every match; in `replacement`, `$0` is the matched text, any other `$name` nothing, `$$` a dollar.
pub(super) fn replace_all(
    glob: &str,
    value: &str,
    replacement: &str,
    limit: usize,
    steps: &mut usize,
) -> Result<Option<String>, String> {
    let tokens = compile(glob)?;
    let text: Vec<char> = value.chars().collect();
    let starts = starts(&tokens, &text, steps)?;
    let mut out = String::new();
    let (mut search, mut copied) = (0, 0);
    while let Some(start) = starts.get(starts.partition_point(|start| *start < search)).copied() {
        let end = advance(&tokens, &text, vec![start], steps)?.last().copied().unwrap_or(start);
        out.extend(&text[copied..start]);
        // An empty match right behind another one is not replaced a second time.
        if end > copied || start == 0 {
            fill(&mut out, replacement, &text[start..end]);
        }
        copied = end;
        search = if end > search { end } else { search + 1 };
        if out.len() > limit {
            return Ok(None);
        }
    }
    out.extend(&text[copied..]);
    Ok(Some(out).filter(|out| out.len() <= limit))
}

fn fill(out: &mut String, replacement: &str, matched: &[char]) {
    let mut rest = replacement;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('$') {
            out.push('$');
            rest = tail;
            continue;
        }
        let braced = rest.strip_prefix('{');
        let name = braced.unwrap_or(rest);
        let end = name.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(name.len());
        let closed = braced.is_none() || name[end..].starts_with('}');
        if end == 0 || !closed {
            out.push('$');
            continue;
        }
        if &name[..end] == "0" {
            out.extend(matched);
        }
        rest = &name[end + usize::from(braced.is_some())..];
    }
    out.push_str(rest);
}

/// Returns every position at which a match begins, in order.
fn starts(tokens: &[Token], text: &[char], steps: &mut usize) -> Result<Vec<usize>, String> {
    let backward: Vec<Token> = tokens.iter().rev().copied().collect();
    let reversed: Vec<char> = text.iter().rev().copied().collect();
    let found = advance(&backward, &reversed, (0..=text.len()).collect(), steps)?;
    Ok(found.into_iter().rev().map(|at| text.len() - at).collect())
}

/// Returns the positions, in order, that can be reached from the ordered positions `live` through all tokens.
fn advance(tokens: &[Token], text: &[char], live: Vec<usize>, steps: &mut usize) -> Result<Vec<usize>, String> {
    let mut live = live;
    for token in tokens {
        *steps += live.len();
        live = match token {
            Token::Literal(c) => live.into_iter().filter(|at| text.get(*at) == Some(c)).map(|at| at + 1).collect(),
            Token::Any => {
                live.into_iter().filter(|at| text.get(*at).is_some_and(|c| *c != '\n')).map(|at| at + 1).collect()
            }
            Token::Star => swept(&live, text),
        };
        *steps += live.len();
        if *steps > MAX_STEPS {
            return Err(format!("matching takes more than {MAX_STEPS} steps"));
        }
        if live.is_empty() {
            break;
        }
    }
    Ok(live)
}

/// Adds to `live` everything up to the end of its line.
fn swept(live: &[usize], text: &[char]) -> Vec<usize> {
    let mut out: Vec<usize> = Vec::new();
    for start in live {
        // Within a line, an earlier sweep has covered all that a later one would.
        if out.last().is_some_and(|last| last >= start) {
            continue;
        }
        let mut at = *start;
        out.push(at);
        while text.get(at).is_some_and(|c| *c != '\n') {
            at += 1;
            out.push(at);
        }
    }
    out
}
