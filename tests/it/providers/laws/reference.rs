//! A second reading of the documented verdict field, as strict as the documents, sharing no code with the drivers.

use std::fmt;

use bytes::Bytes;
use http::Response;
use idgate::domain::verdict::Verdict;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The verdict in the documented field of an answer, if the answer is one of success.
pub fn verdict(driver: &str, response: &Response<Bytes>) -> Option<Verdict> {
    if response.status() != 200 {
        return None;
    }
    let body: Json = serde_json::from_slice(response.body()).ok()?;
    match driver {
        "aliyun" | "aliyun_intl" => {
            let code = body.get("Code")?.scalar()?;
            let mut said = biz_codes(&body);
            let first = said.next()??;
            let agreed = said.all(|other| other.as_ref() == Some(&first));
            let verdict = match first.as_str() {
                "1" => Verdict::Match,
                "2" => Verdict::Mismatch,
                "3" => Verdict::NoRecord,
                _ => return None,
            };
            (agreed && (code == "200" || code == "Success")).then_some(verdict)
        }
        "muzhiyun" => {
            let msg = body.get("msg")?.scalar()?.trim().replace('：', ":");
            let matched = matches!(body.get("match"), Some(Json::Bool(true)));
            let ok = body.get("ok")?.scalar()? == "1";
            match () {
                () if !ok => None,
                () if matched => (!msg.starts_with("实名校验失败")).then_some(Verdict::Match),
                () if msg.starts_with("实名校验失败:身份证与姓名不匹配") => Some(Verdict::Mismatch),
                () if msg.starts_with("实名校验失败:查无记录") => Some(Verdict::NoRecord),
                () => None,
            }
        }
        "yunyi" => match body.get("respCode")?.scalar()?.as_str() {
            "0000" => Some(Verdict::Match),
            "0008" => Some(Verdict::Mismatch),
            "0007" => Some(Verdict::NoRecord),
            _ => None,
        },
        other => panic!("say where the answers of {other} hold their verdict"),
    }
}

/// The field itself, as it stands.
pub fn field(driver: &str, response: &Response<Bytes>) -> Option<String> {
    let body: Json = serde_json::from_slice(response.body()).ok()?;
    match driver {
        "aliyun" | "aliyun_intl" => biz_codes(&body).next()?,
        "muzhiyun" => Some(format!("{:?} {}", body.get("match"), body.get("msg")?.scalar()?)),
        _ => body.get("respCode")?.scalar(),
    }
}

/// What each result object says; inside, nothing for one that says nothing readable.
fn biz_codes(body: &Json) -> impl Iterator<Item = Option<String>> {
    let objects = ["ResultObject", "Result"].into_iter().filter_map(|name| body.get(name));
    objects.filter(|object| !matches!(object, Json::Null)).map(|object| object.get("BizCode")?.scalar())
}

/// JSON with its members in order, repeated ones included.
#[derive(Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Whole(u64),
    Other,
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The member of that name, if there is exactly one.
    fn get(&self, wanted: &str) -> Option<&Json> {
        let Json::Object(members) = self else { return None };
        let mut found = members.iter().filter(|(name, _)| name == wanted);
        let (_, value) = found.next()?;
        found.next().is_none().then_some(value)
    }

    /// A string, or a whole number as one.
    fn scalar(&self) -> Option<String> {
        match self {
            Json::Text(text) => Some(text.clone()),
            Json::Whole(number) => Some(number.to_string()),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Whole(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut out = Vec::new();
        while let Some(value) = list.next_element()? {
            out.push(value);
        }
        Ok(Json::List(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Json, A::Error> {
        let mut out = Vec::new();
        while let Some(member) = object.next_entry()? {
            out.push(member);
        }
        Ok(Json::Object(out))
    }
}
