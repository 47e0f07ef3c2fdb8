//! The ID number vectors: result, normal form and all derived values, including the region.

use idgate::domain::id_number::{Calendar, IdNumber, Sex};
use idgate::domain::region::Regions;

use super::{Row, filled, rows, unescaped};

#[test]
fn every_number_vector_holds() {
    let regions = Regions::embedded().unwrap();
    let rows = rows("id_numbers.csv");
    assert_eq!(rows.len(), 86);
    for row in rows {
        let parsed = IdNumber::parse(&unescaped(&row["input"]), row["as_of"].parse().unwrap(), Calendar::Strict);
        match (row["verdict"].as_str(), parsed) {
            ("accept", Ok(number)) => check(&row, &number, &regions),
            ("reject", Err(invalid)) => assert_eq!(invalid.reason(), row["reason"], "{row:?}"),
            (_, parsed) => panic!("{parsed:?} for {row:?}"),
        }
    }
}

fn check(row: &Row, number: &IdNumber, regions: &Regions) {
    let case = &row["case_id"];
    assert_eq!(number.kind().as_str(), row["kind"], "{case}");
    assert_eq!(number.was_converted(), row["kind"] == "resident_15", "{case}");
    assert_eq!(number.expose(), unescaped(&row["normalised"]), "{case}");
    assert_eq!(number.birth_date(), filled(&row["birth_date"]).map(|date| date.parse().unwrap()), "{case}");
    let sex = filled(&row["sex"]).map(|sex| if sex == "M" { Sex::Male } else { Sex::Female });
    assert_eq!(number.sex(), sex, "{case}");
    let age = filled(&row["age"]).map(|age| age.parse().unwrap());
    assert_eq!(number.age_on(row["as_of"].parse().unwrap()), age, "{case}");
    assert_eq!(number.region_code(), filled(&row["region_code"]), "{case}");
    let region = regions.of(number);
    assert_eq!(region.code.as_deref(), filled(&row["region_code"]), "{case}");
    assert_eq!(region.province.as_deref(), filled(&row["province"]), "{case}");
    assert_eq!(region.city.as_deref(), filled(&row["city"]), "{case}");
    assert_eq!(region.county.as_deref(), filled(&row["county"]), "{case}");
    assert_eq!(region.status.as_str(), filled(&row["region_status"]).unwrap_or("unknown"), "{case}");
}
