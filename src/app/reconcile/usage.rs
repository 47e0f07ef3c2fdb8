//! Reads a provider's usage export: finds its columns and parses its rows.
//!
//! Invariant: errors name the line and the column, never the content, which may be personal data.

use std::io::{self, Read};

use csv::{ErrorKind, StringRecord};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// The known headers, in lower case and without spaces, `_` and `-`.
const IDS: [&str; 9] =
    ["requestid", "reqid", "providerrequestid", "请求id", "请求编号", "请求流水号", "调用流水号", "流水号", "调用id"];
const TIMES: [&str; 11] = [
    "time",
    "calltime",
    "requesttime",
    "usagetime",
    "timestamp",
    "datetime",
    "调用时间",
    "请求时间",
    "消费时间",
    "计费时间",
    "时间",
];
const AMOUNTS: [&str; 11] =
    ["amount", "amountyuan", "price", "fee", "cost", "金额", "费用", "价格", "消费金额", "应付金额", "金额元"];
const BILLED: [&str; 6] = ["billed", "charged", "计费", "是否计费", "是否收费", "是否扣费"];

/// The words in a `billed` column, in lower case.
const YES: [&str; 10] = ["yes", "y", "true", "1", "billed", "charged", "是", "计费", "收费", "已计费"];
const NO: [&str; 12] =
    ["no", "n", "false", "0", "free", "not billed", "否", "不计费", "不收费", "免费", "未计费", "未扣费"];

/// The formats of a time without an offset.
const FORMS: [&str; 4] = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y/%m/%d %H:%M:%S", "%Y%m%d%H%M%S"];

#[derive(Debug, Clone)]
pub(in crate::app) struct Form {
    /// The header of the column with request ids; one of the known headers if not set.
    pub(in crate::app) id_column: Option<String>,
    /// The same for the times.
    pub(in crate::app) time_column: Option<String>,
    /// The time zone of times without an offset.
    pub(in crate::app) zone: Offset,
}

/// One row: a call, as the provider recorded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// Its line in the file, where the header is line 1.
    pub(super) line: u64,
    pub(super) request_id: Option<String>,
    /// In milliseconds since 1970.
    pub(super) at_ms: i64,
    pub(super) billed: bool,
    /// The price in millionths of a yuan, if the export has it.
    pub(super) micro_yuan: Option<i64>,
}

/// A whole export.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) rows: Vec<Row>,
    /// All amounts were zero. Prepaid calls look the same, so the amounts show neither a price nor whether a call was
    /// billed.
    pub(super) has_no_prices: bool,
}

/// Why an export cannot be read, and what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("is empty; the first line must have the headers")]
    Empty,
    #[error("is not UTF-8; convert an export in GBK or GB18030 with `iconv -f GB18030 -t UTF-8 OLD.csv > NEW.csv`")]
    NotUtf8,
    #[error("cannot be read completely: {0}; export it again")]
    Broken(String),
    #[error("has no column with a known header for {what}; give its header with {option}")]
    NoColumn { what: &'static str, option: &'static str },
    #[error("has two columns for {what}, number {one} and number {other}; {remedy}")]
    TwoColumns { what: &'static str, one: usize, other: usize, remedy: &'static str },
    #[error("line {line} has more or fewer columns than the header; correct the line, or export again")]
    Uneven { line: u64 },
    #[error("line {line}, column number {column}: {wanted}")]
    Cell { line: u64, column: usize, wanted: &'static str },
}

/// The column indices, counted from 0.
struct Columns {
    id: usize,
    time: usize,
    amount: Option<usize>,
    billed: Option<usize>,
}

/// Drops carriage returns, because the csv crate counts lines wrongly when lines end with them.
struct LineFeeds<R>(R);

impl<R: Read> Read for LineFeeds<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.0.read(into)?;
            let mut kept = 0;
            for index in 0..count {
                if let Some(byte) = into.get(index).copied().filter(|byte| *byte != b'\r')
                    && let Some(place) = into.get_mut(kept)
                {
                    *place = byte;
                    kept += 1;
                }
            }
            // 0 would mean the end of the file, so read on if everything was dropped.
            if kept > 0 || count == 0 {
                return Ok(kept);
            }
        }
    }
}

/// Reads a whole export. Calls `progress` with the number of bytes read so far.
pub(super) fn read(from: impl Read, form: &Form, mut progress: impl FnMut(u64)) -> Result<Usage, Unreadable> {
    let mut csv = csv::ReaderBuilder::new().from_reader(LineFeeds(from));
    let headers = csv.headers().map_err(unreadable)?.clone();
    if headers.iter().all(|header| header.trim().is_empty()) {
        return Err(Unreadable::Empty);
    }
    let columns = Columns::of(&headers, form)?;
    let (mut rows, mut record) = (Vec::new(), StringRecord::new());
    while csv.read_record(&mut record).map_err(unreadable)? {
        let position = record.position().cloned().unwrap_or_else(csv::Position::new);
        progress(position.byte());
        rows.push(columns.row(&record, position.line(), form)?);
    }
    let has_no_prices = !rows.is_empty() && rows.iter().all(|row: &Row| row.micro_yuan == Some(0));
    for row in rows.iter_mut().filter(|_| has_no_prices) {
        row.micro_yuan = None;
        row.billed |= columns.billed.is_none();
    }
    Ok(Usage { rows, has_no_prices })
}

fn unreadable(error: csv::Error) -> Unreadable {
    match error.kind() {
        ErrorKind::Utf8 { .. } => Unreadable::NotUtf8,
        ErrorKind::UnequalLengths { pos, .. } => {
            Unreadable::Uneven { line: pos.as_ref().map_or(0, csv::Position::line) }
        }
        ErrorKind::Io(error) => Unreadable::Broken(error.to_string()),
        _ => Unreadable::Broken("it is not CSV".to_owned()),
    }
}

fn plain(header: &str) -> String {
    let is_kept = |c: &char| !c.is_whitespace() && !matches!(c, '_' | '-' | '\u{feff}' | '(' | ')' | '（' | '）');
    header.chars().filter(is_kept).flat_map(char::to_lowercase).collect()
}

impl Columns {
    fn of(headers: &StringRecord, form: &Form) -> Result<Self, Unreadable> {
        let find = |what, known: &[&str], named: Option<&String>, remedy| {
            let named = named.map(|name| plain(name));
            let is_it = |header: &str| match &named {
                Some(name) => plain(header) == *name,
                None => known.contains(&&*plain(header)),
            };
            let mut found = headers.iter().enumerate().filter(|(_, header)| is_it(header)).map(|(index, _)| index);
            match (found.next(), found.next()) {
                (Some(one), Some(other)) => {
                    Err(Unreadable::TwoColumns { what, one: one + 1, other: other + 1, remedy })
                }
                (one, _) => Ok(one),
            }
        };
        const BY_OPTION: &str = "name the right one with --id-column or --time-column";
        const BY_HAND: &str = "remove one of them";
        let id = find("request ids", &IDS, form.id_column.as_ref(), BY_OPTION)?;
        let time = find("times", &TIMES, form.time_column.as_ref(), BY_OPTION)?;
        Ok(Self {
            id: id.ok_or(Unreadable::NoColumn { what: "request ids", option: "--id-column" })?,
            time: time.ok_or(Unreadable::NoColumn { what: "times", option: "--time-column" })?,
            amount: find("amounts", &AMOUNTS, None, BY_HAND)?,
            billed: find("whether a call is billed", &BILLED, None, BY_HAND)?,
        })
    }

    fn row(&self, record: &StringRecord, line: u64, form: &Form) -> Result<Row, Unreadable> {
        let cell = |index: usize| record.get(index).unwrap_or_default().trim();
        let wrong = |index: usize, wanted| Unreadable::Cell { line, column: index + 1, wanted };
        let not_a_time = "is not a time; write for example 2026-11-22T08:00:00+08:00 or 2026-11-22 08:00:00";
        let at_ms = time(cell(self.time), form.zone).ok_or_else(|| wrong(self.time, not_a_time))?;
        let micro_yuan = match self.amount.map(|index| (index, cell(index))) {
            None | Some((_, "")) => None,
            Some((index, text)) => {
                Some(amount(text).ok_or_else(|| wrong(index, "is not an amount in yuan; write for example 0.30"))?)
            }
        };
        let billed = match self.billed.map(|index| (index, cell(index).to_lowercase())) {
            None => micro_yuan != Some(0),
            Some((_, word)) if YES.contains(&&*word) => true,
            Some((_, word)) if NO.contains(&&*word) => false,
            Some((index, _)) => return Err(wrong(index, "is neither yes nor no; write one of them")),
        };
        let request_id = Some(cell(self.id)).filter(|id| !id.is_empty()).map(str::to_owned);
        Ok(Row { line, request_id, at_ms, billed, micro_yuan })
    }
}

/// A time with an offset, one in `zone`, or seconds or milliseconds since 1970.
fn time(text: &str, zone: Offset) -> Option<i64> {
    if matches!(text.len(), 10 | 13) && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: i64 = text.parse().ok()?;
        return Some(if text.len() == 10 { number * 1_000 } else { number });
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.as_millisecond());
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let local = FORMS.iter().find_map(|form| DateTime::strptime(form, whole).ok())?;
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let ms: i64 = fraction.chars().chain("00".chars()).take(3).collect::<String>().parse().ok()?;
    Some(zone.to_timestamp(local).ok()?.as_millisecond() + ms)
}

/// An amount in yuan, as millionths. Refunds are negative.
fn amount(text: &str) -> Option<i64> {
    let text = text.trim_start_matches(['¥', '￥']).trim_end_matches('元').replace(',', "");
    let (sign, digits) = text.strip_prefix('-').map_or((1, &*text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let fraction = fraction.trim_end_matches('0');
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) || fraction.len() > 6 {
        return None;
    }
    let millionths: i64 = format!("{fraction:0<6}").parse().ok()?;
    whole.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(millionths)?.checked_mul(sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form() -> Form {
        Form { id_column: None, time_column: None, zone: jiff::tz::offset(8) }
    }

    fn rows(text: &str) -> Result<Vec<Row>, Unreadable> {
        read(text.as_bytes(), &form(), |_| {}).map(|usage| usage.rows)
    }

    const AT: i64 = 1_795_305_600_123; // 2026-11-22T00:00:00.123Z

    #[test]
    fn columns_are_found_by_several_names_and_a_byte_order_mark_is_none_of_them() {
        let row = Row { line: 2, request_id: Some("R".to_owned()), at_ms: AT, billed: true, micro_yuan: Some(300_000) };
        for text in [
            "request_id,time,amount\nR,2026-11-22T00:00:00.123Z,0.30\n",
            "\u{feff}RequestId,调用时间,金额（元）\r\nR,2026-11-22 08:00:00.123,¥0.3元\r\n",
            "时间,请求ID,是否计费,费用\n2026/11/22 8:00:00.123,R,是,0.300000\n",
            "Request Id,Call-Time,Fee\nR,1795305600123,0.3\n",
        ] {
            assert_eq!(rows(text), Ok(vec![row.clone()]), "{text}");
        }
        let named = Form { id_column: Some("Their No".to_owned()), time_column: Some("When".to_owned()), ..form() };
        let read = read("when,their no,time\n20261122080000,,x\n".as_bytes(), &named, |_| {}).unwrap().rows;
        assert_eq!((read[0].at_ms, &read[0].request_id, read[0].micro_yuan), (AT - 123, &None, None));
    }

    #[test]
    fn what_is_free_is_not_billed() {
        let all = rows("id,time,billed\n").unwrap_err();
        assert!(matches!(all, Unreadable::NoColumn { option: "--id-column", .. }), "{all:?}");
        let all = rows("reqid,time,amount,billed\na,1795305600,0.1,否\nb,1795305600,,yes\n").unwrap();
        assert_eq!(all.iter().map(|row| row.billed).collect::<Vec<_>>(), [false, true]);
        let all = rows("reqid,time,amount\na,1795305600,0.00\nb,1795305600,-0.3\n").unwrap();
        assert_eq!(
            all.iter().map(|row| (row.billed, row.micro_yuan)).collect::<Vec<_>>(),
            [(false, Some(0)), (true, Some(-300_000))]
        );
    }

    #[test]
    fn amounts_that_are_all_zero_say_nothing_and_a_billed_column_does() {
        for (text, billed, has_no_prices) in [
            ("reqid,time,amount\na,1795305600,0.00\nb,1795305600,0\n", [true, true], true),
            ("reqid,time,amount,billed\na,1795305600,0.00,否\nb,1795305600,0,yes\n", [false, true], true),
            ("reqid,time,amount\na,1795305600,0.00\nb,1795305600,\n", [false, true], false),
        ] {
            let usage = read(text.as_bytes(), &form(), |_| {}).unwrap();
            let is_billed: Vec<_> = usage.rows.iter().map(|row| row.billed).collect();
            assert_eq!((&*is_billed, usage.has_no_prices), (&billed[..], has_no_prices), "{text}");
            assert!(!has_no_prices || usage.rows.iter().all(|row| row.micro_yuan.is_none()), "{text}");
        }
        assert!(!read("reqid,time,amount\n".as_bytes(), &form(), |_| {}).unwrap().has_no_prices);
    }

    #[test]
    fn what_cannot_be_read_is_told_by_line_and_column_and_never_by_content() {
        let told = |text: &str| rows(text).unwrap_err().to_string();
        let person = "11010519491231002X";
        for (text, part) in [
            (String::new(), "is empty"),
            (format!("a,{person}\n1,2\n"), "--id-column"),
            (format!("request_id,a\n1,{person}\n"), "--time-column"),
            (format!("time,调用时间,requestid\n1,2,{person}\n"), "number 1 and number 2"),
            (format!("request_id,time\na,1795305600\nb,{person}\n"), "line 3, column number 2: is not a time"),
            (format!("request_id,time\na,1795305600,{person}\n"), "line 2 has more or fewer"),
            (format!("request_id,time,amount\na,1795305600,{person}\n"), "line 2, column number 3: is not an amount"),
            (format!("request_id,time,billed\na,1795305600,{person}\n"), "column number 3: is neither"),
        ] {
            let told = told(&text);
            assert!(told.contains(part) && !told.contains(person), "{told}");
        }
        let gbk = b"\xc7\xeb\xc7\xf3ID,\xca\xb1\xbc\xe4\n";
        assert!(read(&gbk[..], &form(), |_| {}).unwrap_err().to_string().contains("iconv -f GB18030"));
    }
}
