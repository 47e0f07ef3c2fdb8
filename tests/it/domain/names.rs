//! The name vectors: result, normal form, warnings.

use idgate::domain::name::{Name, Warning};

use super::{rows, unescaped};

#[test]
fn every_name_vector_holds() {
    let rows = rows("names.csv");
    assert_eq!(rows.len(), 101);
    for row in rows {
        match (row["verdict"].as_str(), Name::parse(&unescaped(&row["input"]))) {
            ("accept", Ok(name)) => {
                assert_eq!(name.expose(), unescaped(&row["normalised"]), "{row:?}");
                let warnings: Vec<_> = name.warnings().iter().map(Warning::as_str).collect();
                assert_eq!(warnings.join(";"), row["warnings"], "{row:?}");
                assert_eq!(name.code_points(), name.expose().chars().count());
            }
            ("reject", Err(invalid)) => assert_eq!(invalid.reason(), row["reason"], "{row:?}"),
            (_, parsed) => panic!("{parsed:?} for {row:?}"),
        }
    }
}

#[test]
fn every_character_of_the_private_use_table_has_an_alternate_spelling_in_both_forms() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/domain/data/pua_gb18030.csv");
    let mut table = csv::Reader::from_path(path).unwrap();
    let mut others: Vec<char> = ('\u{4E00}'..='\u{4FFF}').chain('\u{E700}'..='\u{E900}').collect();
    for row in table.records().map(Result::unwrap) {
        let by_code = |cell: &str| char::from_u32(u32::from_str_radix(&cell[2..], 16).unwrap()).unwrap();
        let (old, new) = (by_code(&row[0]), by_code(&row[1]));
        assert_eq!(new.to_string(), row[2]);
        for c in [old, new] {
            assert!(Name::parse(&format!("张{c}")).unwrap().has_alternate_spelling(), "{c:?}");
            others.retain(|&other| other != c);
        }
        let prose = row.iter().enumerate().filter(|&(column, _)| column != 2);
        assert!(
            prose.into_iter().all(|(_, cell)| cell.is_ascii()),
            "only the characters themselves may be searched for"
        );
    }
    for c in others {
        assert!(!Name::parse(&format!("张{c}")).unwrap().has_alternate_spelling(), "{c:?}");
    }
}
