//! Tables of text: a column of labels, and columns of figures.

/// Space between two columns.
const GAP: usize = 2;

/// A table. Every row has a cell for each column.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    heading: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone)]
enum Row {
    /// The title of the rows that follow.
    Title(String),
    Cells(Vec<String>),
}

impl Table {
    /// A table without rows. The first column is that of the labels.
    pub(crate) fn new(heading: Vec<String>) -> Self {
        Table { heading, rows: Vec::new() }
    }

    /// Adds a title.
    pub(crate) fn title(&mut self, title: impl Into<String>) {
        self.rows.push(Row::Title(title.into()));
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(Row::Cells(cells));
    }

    /// The text: labels to the left, figures to the right.
    pub(crate) fn render(&self) -> String {
        let width = |text: &String| text.chars().count();
        let mut widths: Vec<usize> = self.heading.iter().map(width).collect();
        for row in &self.rows {
            let Row::Cells(cells) = row else { continue };
            for (widest, cell) in widths.iter_mut().zip(cells) {
                *widest = (*widest).max(width(cell));
            }
        }
        let line = |cells: &[String]| {
            let mut text = String::new();
            for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                match column {
                    0 => text += &format!("{cell:width$}"),
                    _ => text += &format!("{:GAP$}{cell:>width$}", ""),
                }
            }
            text.trim_end().to_owned() + "\n"
        };
        let mut text = line(&self.heading);
        for row in &self.rows {
            match row {
                Row::Title(title) => text += &format!("{title}\n"),
                Row::Cells(cells) => text += &line(cells),
            }
        }
        text
    }
}

/// A number with a fixed number of digits after the point, and its thousands apart.
pub(crate) fn show_number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, format!(".{fraction}")),
        None => (text.as_str(), String::new()),
    };
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n) % 3 == 0 {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let words = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let mut table = Table::new(words(&["", "a", "system"]));
        table.title("work");
        table.row(words(&["  time, µs", "12 345", "–"]));
        assert_eq!(
            table.render(),
            "                 a  system\nwork\n  time, µs  12 345       –\n"
        );
    }

    #[test]
    fn numbers_have_their_thousands_apart() {
        assert_eq!(show_number(1_234_567.4, 0), "1 234 567");
        assert_eq!(show_number(999.96, 1), "1 000.0");
        assert_eq!(show_number(-1000.0, 0), "-1 000");
        assert_eq!(show_number(0.0, 2), "0.00");
    }
}
