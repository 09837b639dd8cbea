//! What a task answers: one value, shown as JSON for programs or laid out for people, on standard output and nowhere
//! else. Logs and progress go to standard error.

use std::{fmt, io::Write as _};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, SeqAccess, Visitor},
};

use super::arguments::Format;

/// The answer of a task.
#[derive(Debug)]
pub(super) struct Report {
    json: String,
    failure: Option<String>,
}

impl Report {
    /// A report of this value.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub(super) fn of(value: &impl Serialize) -> loco_rs::Result<Self> {
        Ok(Self { json: serde_json::to_string(value)?, failure: None })
    }

    /// Nothing to say.
    pub(super) const fn silent() -> Self {
        Self { json: String::new(), failure: None }
    }

    /// The same, after which the task fails with this line.
    pub(super) fn failing(mut self, line: impl Into<String>) -> Self {
        self.failure = Some(line.into());
        self
    }

    /// Shows it.
    ///
    /// # Errors
    /// The failure that it reports; when standard output is closed.
    pub(super) fn show(self, format: Format) -> loco_rs::Result<()> {
        if !self.json.is_empty() {
            let text = match format {
                Format::Json => format!("{}\n", self.json),
                Format::Text => serde_json::from_str::<Tree>(&self.json)?.to_string(),
            };
            print(&text)?;
        }
        self.failure.map_or(Ok(()), |line| Err(loco_rs::Error::Message(line)))
    }
}

/// The one place where tasks write.
///
/// # Errors
/// When standard output is closed.
pub(super) fn print(text: &str) -> loco_rs::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// A JSON value that keeps the order of its fields.
#[derive(Debug, PartialEq, Eq)]
enum Tree {
    Scalar(String),
    List(Vec<Self>),
    Record(Vec<(String, Self)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reading)
    }
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar("-".to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar(if value { "yes" } else { "no" }.to_owned()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        // What a stranger wrote (a bounce reason, say) must not move the terminal's cursor.
        Ok(Tree::Scalar(value.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Tree, A::Error> {
        let mut record = Vec::new();
        while let Some(field) = fields.next_entry()? {
            record.push(field);
        }
        Ok(Tree::Record(record))
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(text) => writeln!(f, "{text}"),
            Self::List(rows) => write_rows(f, rows),
            Self::Record(fields) => write_fields(f, fields),
        }
    }
}

impl Tree {
    /// The fields, those of nested records under `outer.inner`; lists are left out.
    fn scalars(&self, path: &str, found: &mut Vec<(String, String)>) {
        match self {
            Self::Scalar(text) => found.push((path.to_owned(), text.clone())),
            Self::List(_) => {}
            Self::Record(fields) => {
                for (name, value) in fields {
                    value.scalars(&below(path, name), found);
                }
            }
        }
    }

    const fn is_list(&self) -> bool {
        matches!(self, Self::List(_))
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A line for each field, then each list as a table of its own.
fn write_fields(f: &mut fmt::Formatter<'_>, fields: &[(String, Tree)]) -> fmt::Result {
    let mut lines = Vec::new();
    for (name, value) in fields {
        value.scalars(name, &mut lines);
    }
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    for (name, text) in &lines {
        writeln!(f, "{name:width$}  {text}")?;
    }
    for (name, list) in fields.iter().filter(|(_, value)| value.is_list()) {
        writeln!(f, "\n{name}:")?;
        write!(f, "{list}")?;
    }
    Ok(())
}

/// A table with a line for each row. Columns are those of any row, in the order in which they come first.
fn write_rows(f: &mut fmt::Formatter<'_>, rows: &[Tree]) -> fmt::Result {
    if rows.is_empty() {
        return writeln!(f, "(none)");
    }
    let cells: Vec<Vec<(String, String)>> = rows
        .iter()
        .map(|row| {
            let mut found = Vec::new();
            row.scalars("", &mut found);
            found
        })
        .collect();
    let mut columns: Vec<&str> = Vec::new();
    for (name, _) in cells.iter().flatten() {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    let value = |row: &[(String, String)], column: &str| {
        row.iter().find(|(name, _)| name == column).map_or_else(String::new, |(_, text)| text.clone())
    };
    let mut lines: Vec<Vec<String>> = Vec::with_capacity(rows.len() + 1);
    if columns != [""] {
        lines.push(columns.iter().map(|&name| name.to_owned()).collect());
    }
    lines.extend(cells.iter().map(|row| columns.iter().map(|column| value(row, column)).collect()));
    write_aligned(f, &lines)
}

fn write_aligned(f: &mut fmt::Formatter<'_>, lines: &[Vec<String>]) -> fmt::Result {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |at: usize| lines.iter().filter_map(|it| it.get(at)).map(|it| it.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or_default()).collect();
    for line in lines {
        let padded: Vec<String> =
            line.iter().zip(&widths).map(|(text, width)| format!("{text:width$}")).collect();
        writeln!(f, "{}", padded.join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::json;

    use super::*;

    fn text(json: &str) -> String {
        serde_json::from_str::<Tree>(json).unwrap().to_string()
    }

    #[test]
    fn a_record_keeps_the_order_of_its_fields_and_names_nested_ones() {
        let shown = text(r#"{"id":"x","name":null,"totals":{"sent":2,"ok":true},"tags":["a","b"]}"#);
        assert_eq!(
            shown,
            "id           x\nname         -\ntotals.sent  2\ntotals.ok    yes\n\ntags:\na\nb\n"
        );
    }

    #[test]
    fn a_list_is_a_table_of_all_columns() {
        let shown = text(r#"[{"id":1,"why":"äö"},{"id":200,"more":{"x":3}}]"#);
        assert_eq!(shown, "id   why  more.x\n1    äö\n200       3\n");
        assert_eq!(text("[]"), "(none)\n");
    }

    #[test]
    fn what_strangers_wrote_cannot_steer_the_terminal() {
        let json = json!({ "reply": "550 \u{1b}[2Jno\r\nsuch" }).to_string();
        assert_eq!(text(&json), "reply  550  [2Jno  such\n");
    }
}
