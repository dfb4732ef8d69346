//! What a file is made of: figures at a glance, then sections with a picture, a table, or both.

use askama::Template;

/// The style sheet of the page under `/ui`, and what a report has beside that.
const STYLE: &str = concat!(include_str!("../web/assets/page.css"), include_str!("report.css"));

/// A report. Every text in it may be what strangers wrote: the template escapes it.
#[derive(Debug, Default, Template)]
#[template(path = "report.html")]
pub struct Page {
    pub(super) title: String,
    /// What it is about, in a sentence.
    pub(super) lead: String,
    /// What a reader must know first.
    pub(super) notices: Vec<String>,
    pub(super) tiles: Vec<Tile>,
    pub(super) sections: Vec<Section>,
    style: &'static str,
    version: &'static str,
}

/// A figure at a glance.
#[derive(Debug)]
pub(super) struct Tile {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) note: String,
}

/// A picture, a table, or both, under a title.
#[derive(Debug, Default)]
pub(super) struct Section {
    /// A heading above it, where a new part begins.
    pub(super) part: Option<String>,
    pub(super) title: String,
    pub(super) note: String,
    /// An SVG element of `crate::picture`, which escapes what is in it.
    pub(super) picture: Option<String>,
    /// A class of the style sheet and what it stands for.
    pub(super) legend: Vec<(&'static str, &'static str)>,
    pub(super) grid: Option<Grid>,
    /// Whether the table is behind the picture.
    pub(super) is_folded: bool,
}

/// A table: rows under the titles of its columns.
#[derive(Debug, Default)]
pub(super) struct Grid {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
    /// What is said in place of a table without rows.
    pub(super) empty: &'static str,
    /// What is left out, in words; empty: nothing.
    pub(super) more: String,
}

#[derive(Debug)]
pub(super) struct Column {
    pub(super) title: String,
    /// Whether it holds words, which begin at the left.
    pub(super) is_words: bool,
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) cells: Vec<Cell>,
    /// Whether it sums others.
    pub(super) is_sum: bool,
}

#[derive(Debug)]
pub(super) struct Cell {
    pub(super) text: String,
    /// The title of its column, which stands before it where rows are shown as blocks; empty: none.
    pub(super) label: String,
    pub(super) is_words: bool,
}

impl Page {
    pub(super) fn new(title: impl Into<String>, lead: impl Into<String>) -> Self {
        let (title, lead) = (title.into(), lead.into());
        Self { title, lead, style: STYLE, version: env!("CARGO_PKG_VERSION"), ..Self::default() }
    }

    /// The whole file, as HTML.
    ///
    /// # Errors
    /// When the template cannot be filled in, which takes a formatter that fails.
    pub fn html(&self) -> Result<String, askama::Error> {
        self.render()
    }

    /// What it says, as text for a terminal: figures a line each, then each table under its title.
    pub fn text(&self) -> String {
        let mut text = format!("{}: {}\n", self.title, self.lead);
        for notice in &self.notices {
            text.push_str(&format!("{notice}\n"));
        }
        for Tile { name, value, note } in &self.tiles {
            let note = if note.is_empty() { String::new() } else { format!(" ({note})") };
            text.push_str(&format!("{name}: {value}{note}\n"));
        }
        for section in &self.sections {
            let Some(grid) = &section.grid else { continue };
            let part = section.part.as_ref().map_or_else(String::new, |part| format!("{part}: "));
            text.push_str(&format!("\n{part}{}\n", section.title));
            text.push_str(&grid.text());
        }
        text
    }

    pub(super) fn tile(&mut self, name: &str, value: impl Into<String>, note: impl Into<String>) {
        self.tiles.push(Tile { name: name.to_owned(), value: value.into(), note: note.into() });
    }
}

impl Section {
    pub(super) fn of(title: impl Into<String>, note: impl Into<String>, grid: Grid) -> Self {
        Self { title: title.into(), note: note.into(), grid: Some(grid), ..Self::default() }
    }
}

impl Grid {
    /// A table of which the first column has names. A column that begins with `~` holds words.
    pub(super) fn new(columns: &[&str], empty: &'static str) -> Self {
        let column = |(n, title): (usize, &&str)| Column {
            title: title.trim_start_matches('~').to_owned(),
            is_words: n == 0 || title.starts_with('~'),
        };
        Self { columns: columns.iter().enumerate().map(column).collect(), empty, ..Self::default() }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.push(cells, false);
    }

    pub(super) fn push(&mut self, cells: impl IntoIterator<Item = String>, is_sum: bool) {
        let cell = |(n, (text, column)): (usize, (String, &Column))| Cell {
            text,
            label: if n == 0 { String::new() } else { column.title.clone() },
            is_words: column.is_words,
        };
        let cells = cells.into_iter().zip(&self.columns).enumerate().map(cell).collect();
        self.rows.push(Row { cells, is_sum });
    }

    /// As lines: columns as wide as what is in them, words at the left and numbers at the right.
    fn text(&self) -> String {
        if self.rows.is_empty() {
            return format!("  {}\n", self.empty);
        }
        let titles: Vec<&str> = self.columns.iter().map(|column| column.title.as_str()).collect();
        let cells = self.rows.iter().map(|row| row.cells.iter().map(|cell| cell.text.as_str()).collect());
        let lines: Vec<Vec<&str>> = [titles].into_iter().chain(cells).collect();
        let length = |n: usize| lines.iter().filter_map(|line| line.get(n)).map(|t| t.chars().count()).max();
        let widths: Vec<usize> = (0..self.columns.len()).map(|n| length(n).unwrap_or(0)).collect();
        let mut text = String::new();
        for line in &lines {
            let cells = line.iter().zip(&self.columns).zip(&widths).map(|((cell, column), width)| {
                if column.is_words { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            text.push_str(&format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end());
            text.push('\n');
        }
        if !self.more.is_empty() {
            text.push_str(&format!("  {}\n", self.more));
        }
        text
    }

    /// Whether it has more columns than a narrow window has room for.
    pub(super) fn is_wide(&self) -> bool {
        self.columns.len() > 5
    }

    /// Says how many rows are left out, if any.
    pub(super) fn leave_out(&mut self, more: usize, what: &str) {
        if more > 0 {
            self.more = format!("and {} more {what}", crate::domain::wording::whole(more as u64));
        }
    }
}
