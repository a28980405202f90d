// SPDX-License-Identifier: GPL-2.0

//! Output of results: text for people, JSON or CSV for machines.

use std::io::{
    self,
    StdoutLock,
    Write, //
};

use comfy_table::{
    presets,
    CellAlignment,
    ColumnConstraint,
    ContentArrangement,
    TableComponent, //
};
use serde::Serialize;

/// A format of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
    Csv,
}

/// Standard output in one of the formats.
pub(crate) struct Output {
    pub(crate) format: Format,
    stdout: StdoutLock<'static>,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            stdout: io::stdout().lock(),
        }
    }

    /// Writes a line for people, and flushes it, so that it is not lost if the machine crashes next.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        if self.format == Format::Text {
            writeln!(self.stdout, "{}", text.as_ref())?;
            self.stdout.flush()?;
        }
        Ok(())
    }

    /// Writes names and values for people, one pair on each line.
    pub(crate) fn block(&mut self, entries: &[(&str, String)]) -> io::Result<()> {
        let width = entries
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or(0);
        for (name, value) in entries {
            self.line(format!("  {name:width$}  {value}"))?;
        }
        Ok(())
    }

    /// Writes the whole result as JSON, for machines.
    pub(crate) fn json(&mut self, result: &impl Serialize) -> io::Result<()> {
        if self.format == Format::Json {
            serde_json::to_writer_pretty(&mut self.stdout, result)?;
            writeln!(self.stdout)?;
        }
        Ok(())
    }

    /// Writes a table, for people or as CSV.
    pub(crate) fn table(&mut self, table: &Table) -> io::Result<()> {
        match self.format {
            Format::Text => write!(self.stdout, "{}", table.text()),
            Format::Csv => write!(self.stdout, "{}", table.csv()),
            Format::Json => Ok(()),
        }?;
        self.stdout.flush()
    }
}

/// Formats a count with its noun, such as `1 page` or `2 pages`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Alignment of the cells of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table: rows under a header.
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    fn text(&self) -> String {
        let mut table = comfy_table::Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_style(TableComponent::HeaderLines, '-')
            .set_style(TableComponent::MiddleHeaderIntersections, '-')
            .set_header(self.columns.iter().map(|(name, _)| *name));
        table.add_rows(&self.rows);
        for (column, (_, align)) in table.column_iter_mut().zip(&self.columns) {
            column.set_constraint(ColumnConstraint::ContentWidth);
            column.set_cell_alignment(match align {
                Align::Left => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            });
        }
        let mut text = String::new();
        // The rule is as long as the header. The last column may hold a long remark.
        let mut width = usize::MAX;
        for line in table.lines() {
            let line = line.trim_end();
            width = width.min(line.len());
            let is_rule = line.bytes().all(|byte| byte == b'-');
            let line = if is_rule { &line[..width] } else { line };
            text.extend([" ", line, "\n"]);
        }
        text
    }

    fn csv(&self) -> String {
        let header: Vec<_> = self
            .columns
            .iter()
            .map(|(name, _)| (*name).into())
            .collect();
        let mut text = String::new();
        for row in std::iter::once(&header).chain(&self.rows) {
            let cells: Vec<_> = row.iter().map(|cell| csv_cell(cell)).collect();
            text.extend([cells.join(",").as_str(), "\n"]);
        }
        text
    }
}

/// Quotes a cell if its text would end the cell (RFC 4180).
fn csv_cell(cell: &str) -> String {
    if cell.contains(['"', ',', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_with_commas_stay_one_cell() {
        let mut table = Table::new(&[("kind", Align::Left), ("note", Align::Left)]);
        table.row(vec!["hole".into(), "a \"b\", c".into()]);
        assert_eq!(table.csv(), "kind,note\nhole,\"a \"\"b\"\", c\"\n");
    }

    #[test]
    fn lines_of_a_table_have_no_trailing_blanks() {
        let mut table = Table::new(&[("kind", Align::Left), ("pages", Align::Right)]);
        table.row(vec!["thp-2m".into(), "512".into()]);
        table.row(vec!["hole".into(), String::new()]);
        let text = table.text();
        assert_eq!(text.lines().count(), 4);
        assert!(text.lines().all(|line| line == line.trim_end()));
    }
}
