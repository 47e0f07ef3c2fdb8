//! Names, numbers and regions against the vectors, and what must hold for every input.

use jiff::civil::Date;
use std::collections::BTreeMap;

mod id_numbers;
mod names;
mod properties;

/// One row of a vector file by column; every cell as written.
type Row = BTreeMap<String, String>;

/// The rows of `tests/fixtures/data/<file>`.
fn rows(file: &str) -> Vec<Row> {
    let path = format!("{}/tests/fixtures/data/{file}", env!("CARGO_MANIFEST_DIR"));
    csv::Reader::from_path(path).unwrap().deserialize().map(Result::unwrap).collect()
}

/// A cell that is the body of a JSON string.
fn unescaped(cell: &str) -> String {
    serde_json::from_str(&format!("\"{cell}\"")).unwrap()
}

/// An empty cell is nothing.
fn filled(cell: &str) -> Option<&str> {
    (!cell.is_empty()).then_some(cell)
}

/// A day on which the synthetic people of these tests have been born.
const TODAY: Date = jiff::civil::date(2026, 6, 30);
