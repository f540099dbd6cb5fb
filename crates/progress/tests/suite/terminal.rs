//! A terminal in memory: obeys what the screen sends, and nothing else.

pub(crate) struct FakeTerminal {
    width: usize,
    pub(crate) rows: Vec<String>,
    row: usize,
    column: usize,
    pub(crate) cursor_shown: bool,
}

impl FakeTerminal {
    pub(crate) fn new(width: usize) -> Self {
        Self { width, rows: vec![String::new()], row: 0, column: 0, cursor_shown: true }
    }

    /// Takes output; panics at anything a well-behaved screen does not send.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).unwrap();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\r' => self.column = 0,
                '\n' => {
                    self.row += 1;
                    if self.row == self.rows.len() {
                        self.rows.push(String::new());
                    }
                }
                '\u{1b}' => self.sequence(&mut chars),
                c => {
                    assert!(!c.is_control(), "control character {c:?}");
                    self.put(c);
                }
            }
        }
    }

    /// The rows that hold something.
    pub(crate) fn shown(&self) -> Vec<&str> {
        let used = self.rows.iter().rposition(|row| !row.trim().is_empty()).map_or(0, |last| last + 1);
        self.rows[..used].iter().map(|row| row.trim_end()).collect()
    }

    fn put(&mut self, c: char) {
        assert!(self.column < self.width, "a line is wider than {}", self.width);
        let mut row: Vec<char> = self.rows[self.row].chars().collect();
        row.resize(row.len().max(self.column + 1), ' ');
        row[self.column] = c;
        self.rows[self.row] = row.into_iter().collect();
        self.column += 1;
    }

    fn sequence(&mut self, chars: &mut std::str::Chars<'_>) {
        assert_eq!(chars.next(), Some('['));
        let mut parameters = String::new();
        let end = loop {
            match chars.next().unwrap() {
                c if c.is_ascii_digit() || c == ';' || c == '?' => parameters.push(c),
                c => break c,
            }
        };
        match (parameters.as_str(), end) {
            ("?25l", _) | ("?25", 'l') => self.cursor_shown = false,
            ("?25", 'h') => self.cursor_shown = true,
            (count, 'A') => self.row = self.row.saturating_sub(count.parse().unwrap()),
            ("", 'K') => self.rows[self.row] = self.rows[self.row].chars().take(self.column).collect(),
            ("", 'J') => self.rows.truncate(self.row + usize::from(self.column > 0)),
            (_, 'm') => {}
            other => panic!("unexpected sequence {other:?}"),
        }
        if self.row >= self.rows.len() {
            self.rows.resize(self.row + 1, String::new());
        }
    }
}
