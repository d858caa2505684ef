//! Tables of text.

use crate::out::Paint;

/// Rows under a heading, each column as wide as its widest cell.
#[derive(Debug)]
pub struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub const fn new(heading: Vec<&'static str>) -> Self {
        Table { heading, rows: Vec::new() }
    }

    /// Adds a row. Cells must be escaped already.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The text of the table, with a line break at its end.
    pub fn render(&self, paint: Paint) -> String {
        let mut widths: Vec<usize> = self.heading.iter().map(|h| h.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |cells: &[&str]| {
            let mut text = String::new();
            for (cell, &width) in cells.iter().zip(&widths) {
                text.push_str(&format!("{cell:width$}  "));
            }
            text.trim_end().to_owned()
        };
        let mut text = paint.bold(&line(&self.heading)) + "\n";
        for row in &self.rows {
            let cells: Vec<&str> = row.iter().map(String::as_str).collect();
            text += &(line(&cells) + "\n");
        }
        text
    }
}
