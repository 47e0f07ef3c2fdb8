//! Names, numbers and regions against the test vectors, and properties that hold for every input.

use jiff::civil::Date;
use std::collections::BTreeMap;

mod id_numbers;
mod names;
mod properties;

/// One row of a vector file, by column, with raw cells.
type Row = BTreeMap<String, String>;

/// The rows of `tests/fixtures/data/<file>`.
fn rows(file: &str) -> Vec<Row> {
    let path = format!("{}/tests/fixtures/data/{file}", env!("CARGO_MANIFEST_DIR"));
    csv::Reader::from_path(path).unwrap().deserialize().map(Result::unwrap).collect()
}

/// Decodes a cell that holds the body of a JSON string.
fn unescaped(cell: &str) -> String {
    serde_json::from_str(&format!("\"{cell}\"")).unwrap()
}

/// An empty cell means no value.
fn filled(cell: &str) -> Option<&str> {
    (!cell.is_empty()).then_some(cell)
}

/// A date after the births of the synthetic people in these tests.
const TODAY: Date = jiff::civil::date(2026, 6, 30);
