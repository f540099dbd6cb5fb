//! The nearest valid word.

/// The distance from which on a word counts as another one.
const LIMIT: usize = 3;

/// Returns the option nearest to `word` if it is fewer than three edits away and not the word itself.
///
/// When `case_sensitive` is false the suggestion takes the case of `word`.
pub fn nearest<'a>(word: &str, options: impl IntoIterator<Item = &'a str>, case_sensitive: bool) -> Option<String> {
    let fold = |text: &str| if case_sensitive { text.to_owned() } else { text.to_lowercase() };
    let wanted = fold(word);
    let mut best: Option<String> = None;
    let mut distance = LIMIT;
    for option in options {
        let option = fold(option);
        if option == wanted {
            return None;
        }
        if let Some(found) = edits(&wanted, &option, distance) {
            distance = found;
            best = Some(option);
        }
    }
    best.map(|option| {
        if !case_sensitive && word == word.to_uppercase() && word != word.to_lowercase() {
            option.to_uppercase()
        } else {
            option
        }
    })
}

/// Returns the edit distance if it is below `limit`.
fn edits(a: &str, b: &str, limit: usize) -> Option<usize> {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(256).collect(), b.chars().take(256).collect());
    if a.len().abs_diff(b.len()) >= limit {
        return None;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    Some(row[b.len()]).filter(|found| *found < limit)
}
