//! The service's response document, read and written: JSON or, on request, XML.
//!
//! Invariant: arrays are not accepted as objects, duplicate members are rejected, and a malformed code is not a code.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::action::ObjectName;
use crate::domain::outcome::{Fault, Reason};
use crate::domain::verdict::Verdict;
use crate::providers::alibaba::pop_error::{PopError, XML_HEAD, element};
use crate::providers::codec::json::{self, Lenient, Object, Scalar};
use crate::providers::codec::text;

const BIZ_CODES: [(Verdict, &str); 3] = [(Verdict::Match, "1"), (Verdict::Mismatch, "2"), (Verdict::NoRecord, "3")];

/// The members that a response may have. A duplicate makes the whole response malformed.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Reply {
    message: Option<Lenient<String>>,
    request_id: Option<Lenient<String>>,
    code: Option<Scalar>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_object: Option<Lenient<Object<BizCode>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Lenient<Object<BizCode>>>,
}

/// The object with the verdict.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct BizCode {
    biz_code: Option<Scalar>,
}

impl Reply {
    pub(super) fn new(code: &str, message: &str, request_id: &str) -> Self {
        Self {
            message: Some(Lenient::Known(message.to_owned())),
            request_id: Some(Lenient::Known(request_id.to_owned())),
            code: Some(Scalar::Text(code.to_owned())),
            ..Self::default()
        }
    }

    /// A response with a verdict in the object of that name.
    pub(super) fn with(self, verdict: Verdict, object: ObjectName) -> Self {
        let code =
            BIZ_CODES.iter().find(|(known, _)| *known == verdict).map(|(_, code)| Scalar::Text((*code).to_owned()));
        let said = Some(Lenient::Known(Object(BizCode { biz_code: code })));
        match object {
            ObjectName::ResultObject => Self { result_object: said, ..self },
            ObjectName::Result => Self { result: said, ..self },
        }
    }

    /// Parses JSON, or an XML error, which some callers get regardless of the requested format.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let text = text::utf8(body)?;
        if !text.trim_ascii_start().starts_with('<') {
            return json::read(body);
        }
        let error = PopError::from_xml(text)?;
        Some(Self::new(&error.code, &error.message, &error.request_id))
    }

    /// The document as XML, with `root` as its root element.
    pub(super) fn to_xml(&self, root: &str) -> String {
        let biz_code = |object: &Option<Lenient<Object<BizCode>>>| {
            let Object(object) = object.as_ref()?.known()?;
            Some(element("BizCode", &object.biz_code.as_ref()?.text()))
        };
        let objects = [("ResultObject", biz_code(&self.result_object)), ("Result", biz_code(&self.result))];
        let objects = objects.into_iter().filter_map(|(name, code)| Some(format!("<{name}>{}</{name}>", code?)));
        format!(
            "{XML_HEAD}<{root}>{}{}{}{}</{root}>",
            element("Message", self.message()),
            element("RequestId", self.request_id().unwrap_or_default()),
            element("Code", &self.code().unwrap_or_default()),
            objects.collect::<String>(),
        )
    }

    pub(super) fn code(&self) -> Option<Cow<'_, str>> {
        self.code.as_ref().map(Scalar::text)
    }

    /// The message. It may contain any text, so it is only compared.
    pub(super) fn message(&self) -> &str {
        known(&self.message).unwrap_or_default()
    }

    pub(super) fn request_id(&self) -> Option<&str> {
        known(&self.request_id)
    }

    /// The result objects, under either name.
    fn objects(&self) -> impl Iterator<Item = &Lenient<Object<BizCode>>> {
        [&self.result_object, &self.result].into_iter().flatten()
    }

    /// Whether some result object contains a verdict.
    pub(super) fn speaks(&self) -> bool {
        self.objects().any(|object| object.known().is_some_and(|Object(object)| object.biz_code.is_some()))
    }

    /// The verdict that all result objects agree on.
    pub(super) fn verdict(&self) -> Result<Verdict, Fault> {
        let mut said: Option<Cow<'_, str>> = None;
        for object in self.objects() {
            let code = object.known().and_then(|Object(object)| object.biz_code.as_ref());
            let code = code.ok_or(Fault::unreadable(Reason::Garbage))?.text();
            if said.replace(code.clone()).is_some_and(|before| before != code) {
                return Err(Fault::unreadable(Reason::Contradiction));
            }
        }
        let said = said.ok_or(Fault::unreadable(Reason::Garbage))?;
        let documented = BIZ_CODES.iter().find(|(_, code)| *code == said);
        documented.map(|(verdict, _)| *verdict).ok_or(Fault::unreadable(Reason::UnknownCode))
    }
}

fn known(member: &Option<Lenient<String>>) -> Option<&str> {
    member.as_ref()?.known().map(String::as_str)
}
