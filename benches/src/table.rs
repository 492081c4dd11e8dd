//! Plain text tables. The first column is aligned left, and figures are aligned right.

/// A table that prints aligned.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column headings.
    pub fn new<S: Into<String>>(heads: impl IntoIterator<Item = S>) -> Self {
        Self { rows: vec![heads.into_iter().map(Into::into).collect()] }
    }

    /// Adds a row. Missing cells are empty.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let mut cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        cells.resize(self.rows[0].len(), String::new());
        self.rows.push(cells);
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let [head, rows @ ..] = self.rows.as_slice() else { return Ok(()) };
        write!(f, "{}", self::head(head, &widths))?;
        rows.iter().try_for_each(|row| writeln!(f, "{}", line(row, &widths)))
    }
}

/// The headings of a table with these column widths, and the rule below them, for a table that is
/// printed row by row.
pub fn head<S: AsRef<str>>(cells: &[S], widths: &[usize]) -> String {
    let rule = widths.iter().sum::<usize>() + 2 * (widths.len() - 1);
    format!("{}\n  {}\n", line(cells, widths), "─".repeat(rule))
}

/// A row of a table with these column widths.
pub fn line<S: AsRef<str>>(cells: &[S], widths: &[usize]) -> String {
    let mut text = String::new();
    for (i, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let cell = cell.as_ref();
        text += &if i == 0 { format!("  {cell:<width$}") } else { format!("  {cell:>width$}") };
    }
    text.trim_end().to_owned()
}

/// A rate per second in three digits: `5.31 M`.
pub fn rate(per_second: f64) -> String {
    match per_second {
        r if r >= 99.95e6 => format!("{:.0} M", r / 1e6),
        r if r >= 9.995e6 => format!("{:.1} M", r / 1e6),
        r if r >= 0.1e6 => format!("{:.2} M", r / 1e6),
        r if r >= 1e3 => format!("{:.1} k", r / 1e3),
        r => format!("{r:.0}"),
    }
}

/// Nanoseconds in a suitable unit: `812 ns`, `4.1 µs`, `20 ms`.
pub fn time(nanos: u64) -> String {
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..100_000 => format!("{:.1} µs", nanos as f64 / 1e3),
        100_000..1_000_000 => format!("{:.0} µs", nanos as f64 / 1e3),
        1_000_000..100_000_000 => format!("{:.1} ms", nanos as f64 / 1e6),
        100_000_000..1_000_000_000 => format!("{:.0} ms", nanos as f64 / 1e6),
        _ => format!("{:.2} s", nanos as f64 / 1e9),
    }
}

/// A figure with its unit, without trailing zeros, for the round values of an axis.
pub fn round(figure: &str) -> String {
    figure.replace(".00 ", " ").replace(".0 ", " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_also_beside_letters_of_two_bytes() {
        let mut table = Table::new(["name", "time"]);
        table.row(["a", "1 µs"]);
        table.row(["longer", "10 ms"]);
        let text = table.to_string();
        assert_eq!(text, "  name     time\n  ─────────────\n  a        1 µs\n  longer  10 ms\n");
    }

    #[test]
    fn figures_carry_their_unit() {
        assert_eq!(rate(5_312_000.0), "5.31 M");
        assert_eq!(rate(12.0), "12");
        assert_eq!(
            (round(&rate(1e7)), round(&rate(2.5e6))),
            ("10 M".to_owned(), "2.50 M".to_owned())
        );
        assert_eq!(time(812), "812 ns");
        assert_eq!(time(20_400_000), "20.4 ms");
    }
}
