//! Columns of text.

use rbuild_dockerfile::render::escaped;

/// Returns rows whose cells stand below each other, `gap` blanks between the widest and the next column.
pub(super) fn table<const N: usize>(rows: &[[&str; N]], gap: usize) -> String {
    let shown: Vec<[String; N]> = rows.iter().map(|row| row.map(escaped)).collect();
    let width = |column: usize| shown.iter().map(|row| row[column].chars().count()).max().unwrap_or(0) + gap;
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for row in &shown {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        out.push_str(cells.collect::<String>().trim_end());
        out.push('\n');
    }
    out
}
