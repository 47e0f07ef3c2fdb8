//! Unit tests of the parent module.

use super::*;

fn normal(input: &str) -> Result<String, &'static str> {
    Name::parse(input).map(|name| name.expose().to_owned()).map_err(InvalidName::reason)
}

fn warnings(input: &str) -> Vec<&'static str> {
    Name::parse(input).unwrap().warnings().iter().map(Warning::as_str).collect()
}

#[test]
fn the_first_rule_that_fails_gives_the_reason() {
    for (input, expected) in [
        ("*\u{0}", "bad_encoding"),
        ("?.", "placeholder"),
        ("3.", "bad_separator"),
        ("张.C", "bad_separator"),
        (".张三", "bad_separator"),
        ("张三。", "bad_separator"),
        ("J..", "bad_separator"),
        ("·3", "bad_character"),
        ("·さ·", "unsupported_script"),
        ("'t Hart", "bad_character"),
        ("张-三", "bad_character"),
        ("Ⓐ", "bad_character"),
        ("\u{1F170}", "bad_character"),
        ("〡", "bad_character"),
        ("x\u{303}", "bad_character"),
        ("张\u{301}", "bad_character"),
    ] {
        assert_eq!(normal(input), Err(expected), "{input}");
    }
    assert_eq!(normal(&"3".repeat(101)), Err("bad_character"));
    assert_eq!(normal(&"·".repeat(101)), Err("bad_separator"));
}

#[test]
fn an_absurdly_long_name_is_refused_before_any_work() {
    assert_eq!(normal(&"\u{200B}".repeat(1 << 20)), Err("too_long"));
    assert_eq!(normal(&format!("e{}", "\u{301}".repeat(1000))), Err("bad_character"));
}

#[test]
fn a_hundred_code_points_count_the_spaces_that_stay() {
    let parts = |count: usize| vec!["A"; count].join("  ");
    assert_eq!(Name::parse(&format!("{}B", parts(50))).unwrap().code_points(), 100);
    assert_eq!(normal(&parts(51)), Err("too_long"));
}

#[test]
fn a_full_stop_follows_its_neighbours() {
    assert_eq!(normal("阿 . 提"), Ok("阿·提".into()));
    assert_eq!(normal("J．R。 Müller"), Ok("J.R. Müller".into()));
    assert_eq!(normal("赵C.张"), Ok("赵C.张".into()));
    assert_eq!(normal("Jose\u{301}."), Ok("José.".into()));
}

#[test]
fn a_separator_takes_the_white_space_around_it_without_a_warning() {
    assert_eq!(normal("迪丽 • 努尔"), Ok("迪丽·努尔".into()));
    assert_eq!(warnings("迪丽 • 努尔"), [""; 0]);
    assert_eq!(normal("JOHN · SMITH"), Ok("JOHN·SMITH".into()));
}

#[test]
fn only_latin_letters_are_composed() {
    assert_eq!(normal("\u{212B}sa"), Ok("Åsa".into()));
    assert_eq!(normal("Nguye\u{302}\u{303}n"), Ok("Nguyễn".into()));
    for kept in ["\u{F92C}", "\u{F979}", "\u{2F804}", "\u{E863}", "\u{FA0C}", "\u{FA20}"] {
        assert_eq!(normal(&format!("{kept} A\u{301}")), Ok(format!("{kept}Á")));
    }
}

#[test]
fn radicals_become_the_ideographs_they_are_printed_as() {
    assert_eq!(normal("\u{2E9F}\u{2EF3}\u{2FD5}"), Ok("母龟龠".into()));
    let all: String = ('\u{2F00}'..='\u{2F4F}').collect();
    assert!(normal(&all).unwrap().chars().all(|c| ('\u{4E00}'..='\u{9FFF}').contains(&c)));
}

/// Issue 13, line 19: `⻢测试` was asked as it stands, paid, and answered `mismatch`.
#[test]
fn a_name_from_a_pdf_is_asked_with_its_ideographs() {
    assert_eq!(normal("\u{2EE2}测试"), Ok("马测试".into()));
    assert_eq!(normal("\u{2EE9}测试"), Ok("黄测试".into()));
    // Latin ligatures come from the same files.
    assert_eq!(normal("So\u{FB01}a \u{FB03}x"), Ok("Sofia ffix".into()));
    let table = include_str!("../data/radicals.csv").lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    let code = |cell: &str| char::from_u32(u32::from_str_radix(&cell[2..], 16).unwrap()).unwrap();
    let mut mapped = Vec::new();
    for row in table {
        let [radical, shown, ideograph, shown_ideograph] = row[..] else { panic!("{row:?}") };
        assert_eq!((code(radical).to_string(), code(ideograph).to_string()), (shown.into(), shown_ideograph.into()));
        assert_eq!(normal(&format!("李{shown}")), Ok(format!("李{shown_ideograph}")), "{radical}");
        mapped.push(code(radical));
    }
    assert_eq!(mapped.len(), 100);
    let pua = include_str!("../data/pua_gb18030.csv");
    for radical in ('\u{2E80}'..='\u{2EF3}').filter(|radical| !mapped.contains(radical)) {
        // Registries hold it, or it stands for nothing: it stays, and a mismatch warns of another spelling.
        let name = Name::parse(&format!("李{radical}")).unwrap();
        assert!(name.expose().ends_with(radical) && name.has_alternate_spelling(), "{radical}");
        assert!(pua.contains(radical) || matches!(radical, '\u{2E80}' | '\u{2E9A}'), "{radical}");
    }
    assert!(mapped.iter().all(|radical| !pua.contains(*radical)));
}

/// Everything that looks like Han, a dot or a digit, and is not: it becomes what it stands for, or it is refused, and
/// refusing costs nothing.
#[test]
fn nothing_that_only_looks_like_a_name_is_asked() {
    for dot in "\u{387}\u{2022}\u{2024}\u{2027}\u{2219}\u{22C5}\u{25CF}\u{2E31}\u{2E33}\u{30FB}\u{FF65}\u{A78F}".chars()
    {
        assert_eq!(normal(&format!("阿{dot}提")), Ok("阿·提".into()), "{dot:?}");
    }
    let blocks = [
        '\u{3021}'..='\u{3029}',
        '\u{3038}'..='\u{303A}',
        '\u{3105}'..='\u{312F}',
        '\u{3190}'..='\u{319F}',
        '\u{31C0}'..='\u{31E5}',
        '\u{3220}'..='\u{3247}',
        '\u{3280}'..='\u{32B0}',
        '\u{30A1}'..='\u{30FA}',
        '\u{A000}'..='\u{A4C6}',
        '\u{17000}'..='\u{18CFF}',
        '\u{1B170}'..='\u{1B2FB}',
        '\u{1D7CE}'..='\u{1D7FF}',
        '\u{1F100}'..='\u{1F10A}',
        '\u{1F210}'..='\u{1F23B}',
        '\u{2460}'..='\u{249B}',
        '\u{2070}'..='\u{2089}',
        '\u{2150}'..='\u{2189}',
        '\u{FF10}'..='\u{FF19}',
        '\u{25E6}'..='\u{25EF}',
        '\u{2981}'..='\u{2981}',
        '\u{10100}'..='\u{10101}',
    ];
    for c in blocks.into_iter().flatten() {
        assert!(normal(&format!("李{c}三")).is_err(), "{c:?} {:?}", normal(&format!("李{c}三")));
    }
}

#[test]
fn warnings_come_sorted_by_their_words() {
    assert_eq!(
        warnings("○ \u{E863}\u{F92C}C"),
        ["compat_ideograph", "mixed_script", "pua", "space_removed", "symbol_zero"]
    );
    assert!(Warning::ALL.is_sorted_by_key(|warning| warning.as_str()));
    assert_eq!(format!("{:?}", Name::parse("测").unwrap().warnings()), r#"{"single_character"}"#);
}

#[test]
fn the_short_cut_for_plain_names_agrees_with_the_long_way() {
    for name in ["张三", "李四光", "欧阳测试"] {
        assert!(is_plain(name));
        let (text, warnings) = normal::form(name).unwrap();
        assert_eq!((text.expose(), warnings), (name, Warnings::default()));
    }
    for other in ["测", "张 三", "AB", "ABCDEF", "赵C", "李\u{36C3}", "佐々木", ""] {
        assert!(!is_plain(other), "{other}");
    }
}
