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
