//! `Retry-After` (RFC 9110, section 10.2.3), for every provider: seconds, or a date in one of HTTP's three forms.

use std::time::{Duration, SystemTime};

use http::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

/// A longer hint counts as this long.
const LONGEST: Duration = Duration::from_hours(24);

/// How long a response asks us to wait; `None` if it does not say, or says that no wait is needed.
///
/// A date is compared with the response's own `Date`, so that a wrong clock changes nothing, and with `now` where
/// there is none.
pub fn retry_after(headers: &HeaderMap, now: Option<SystemTime>) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let hint = text(RETRY_AFTER)?;
    let wait = if !hint.is_empty() && hint.bytes().all(|byte| byte.is_ascii_digit()) {
        // Only a number that is too large fails here.
        hint.parse().map_or(LONGEST, Duration::from_secs)
    } else {
        let date = |text: &str| httpdate::parse_http_date(text).ok();
        date(hint)?.duration_since(text(DATE).and_then(date).or(now)?).unwrap_or_default()
    };
    Some(wait.min(LONGEST)).filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn wait(hint: &str, date: Option<&str>, now: Option<&str>) -> Option<u64> {
        let header = |name, value: &str| (name, HeaderValue::from_str(value).unwrap());
        let headers = [header(RETRY_AFTER, hint)].into_iter().chain(date.map(|date| header(DATE, date)));
        let now = now.map(|now| httpdate::parse_http_date(now).unwrap());
        retry_after(&headers.collect(), now).map(|wait| wait.as_secs())
    }

    #[test]
    fn every_legal_form_of_retry_after_is_understood() {
        let now = Some("Sun, 06 Nov 1994 08:49:30 GMT");
        for (hint, seconds) in [
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("0", None),
            ("007", Some(7)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(7)),
            ("Sun Nov  6 08:49:37 1994", Some(7)),
            ("Sun, 06 Nov 1994 08:49:29 GMT", None),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(86_400)),
            ("99999999999999999999999999", Some(86_400)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(wait(hint, None, now), seconds, "{hint}");
            assert_eq!(wait(hint, now, Some("Sun, 07 Nov 2094 08:49:30 GMT")), seconds, "{hint}: our clock is wrong");
        }
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT", None, None), None);
    }
}
