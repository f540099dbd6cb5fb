//! Any word expanded in any environment, by every lexer, as one string and as words.
//!
//! The input is the word, then `NAME=value` pairs, with a NUL between each.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use rbuild_dockerfile::Lexer;
use rbuild_dockerfile::expand::MAX_VALUE;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split('\0');
    let word = parts.next().unwrap_or_default();
    let pairs = parts.filter_map(|part| part.split_once('='));
    let environment: BTreeMap<String, String> =
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    for lexer in [Lexer::new('\\'), Lexer::new('`'), Lexer::heredoc(), Lexer::progress('\\'), Lexer::progress('`')] {
        expand(&lexer, word, &environment);
    }
});

fn expand(lexer: &Lexer, word: &str, environment: &BTreeMap<String, String>) {
    let whole = lexer.word(word, environment);
    assert_eq!(whole, lexer.word(word, environment), "expansion is deterministic");
    let words = lexer.words(word, environment);
    let (whole, words) = match (whole, words) {
        (Ok(whole), Ok(words)) => (whole, words),
        (Err(whole), Err(words)) => {
            assert_eq!(whole, words, "both ways fail alike");
            assert!(whole.to_string().len() <= 16 << 10, "an error is no longer than a page");
            return;
        }
        (whole, words) => panic!("{whole:?} but {words:?}"),
    };
    assert!(whole.value.len() <= MAX_VALUE.max(word.len()), "{} bytes of output", whole.value.len());
    assert_eq!((&whole.used, &whole.unset), (&words.used, &words.unset));
    assert!(whole.used.iter().all(|name| environment.contains_key(name)), "{:?}", whole.used);
    assert!(whole.unset.iter().all(|name| !environment.contains_key(name)), "{:?}", whole.unset);
    let solid = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    assert_eq!(solid(&whole.value), solid(&words.words.concat()), "splitting takes blanks only");
    assert!(words.words.iter().all(|word| !word.is_empty()));
    if !word.contains(['$', '\'', '"', '\\', '`']) {
        assert_eq!(whole.value, word, "a plain word is itself");
    }
}
