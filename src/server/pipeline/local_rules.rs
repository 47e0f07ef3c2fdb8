//! Our own rules for a name and a number: free, and before anything else is asked.

use jiff::civil::Date;

use crate::domain::id_number::IdNumber;
use crate::domain::name::Name;
use crate::domain::personal::Personal;
use crate::domain::subject::Subject;
use crate::server::http::code::Code;
use crate::server::http::problem::{Problem, Refused};
use crate::server::snapshot::Rules;

/// The person of a name and a number.
///
/// # Errors
/// `invalid_id_number` or `invalid_name`, with the rule that is broken.
pub(in crate::server) fn subject(
    rules: Rules,
    today: Date,
    name: &Personal,
    id_number: &Personal,
) -> Result<Subject, Refused> {
    let refuse = |code: Code, pointer: &str, reason: &'static str, detail: &str| {
        Box::new(Problem::new(code).with_error(pointer, reason, detail))
    };
    let number = IdNumber::parse(id_number.expose(), today, rules.calendar)
        .map_err(|wrong| refuse(Code::InvalidIdNumber, "/id_number", wrong.reason(), wrong.detail()))?;
    let name = Name::parse(name.expose());
    name.and_then(|name| Subject::new(name, number, rules.pair))
        .map_err(|wrong| refuse(Code::InvalidName, "/name", wrong.reason(), wrong.detail()))
}
