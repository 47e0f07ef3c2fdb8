//! Mutations of responses, as caused by networks, proxies, faulty peers and attackers. The seed is fixed, so a
//! failure can be reproduced.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};

/// Derives mutants from a corpus of responses.
pub struct Mutator<'a> {
    chance: fastrand::Rng,
    corpus: &'a [Response<Bytes>],
    values: Vec<Value>,
}

impl<'a> Mutator<'a> {
    pub fn new(seed: u64, corpus: &'a [Response<Bytes>]) -> Self {
        let values = json!([
            null, true, false, 0, 1, 2, 3, -1, -5, 0.0, 1.0, "0", "-1", "-2", "-5", "-7", "00", 200, 8, "", "1", "2", "3", "4", " 1", "01", "200", "Success", "0000", "0007", "0008",
            "0010", "500", "实名信息正确", "实名校验失败:身份证与姓名不匹配", "实名校验失败:查无记录", "身份证信息匹配", [], {},
            ["1"], [1, 1], {"BizCode": "1"}, {"BizCode": "2"}, {"BizCode": 3}, {"BizCode": ["1"]}, {"Code": "200"}
        ]);
        let Value::Array(values) = values else { unreachable!() };
        Self { chance: fastrand::Rng::with_seed(seed), corpus, values }
    }

    /// A mutated copy of `origin`.
    pub fn mutate(&mut self, origin: &Response<Bytes>) -> Response<Bytes> {
        let mut mutant = origin.clone();
        for _ in 0..self.chance.usize(1..=2) {
            match self.chance.u8(0..20) {
                0 => *mutant.status_mut() = self.status(),
                1 => drop(mutant.headers_mut().drain()),
                2..=10 => *mutant.body_mut() = self.bytes(mutant.body()).into(),
                _ => *mutant.body_mut() = self.members(mutant.body()).into(),
            }
        }
        mutant
    }

    fn status(&mut self) -> StatusCode {
        let statuses = [200, 201, 204, 206, 301, 307, 400, 401, 403, 404, 429, 500, 502, 503, 504, 666];
        StatusCode::from_u16(self.chance.choice(statuses).unwrap()).unwrap()
    }

    /// Mutates bytes regardless of the format.
    fn bytes(&mut self, body: &Bytes) -> Vec<u8> {
        let mut out = body.to_vec();
        let at = self.chance.usize(0..=out.len());
        match self.chance.u8(0..7) {
            0 if at < out.len() => out[at] ^= 1 << self.chance.u8(0..8),
            1 if at < out.len() => out[at] = self.chance.choice(*b"\"{}[]:,0123 \\x").unwrap(),
            2 if at < out.len() => drop(out.remove(at)),
            3 => out.insert(at, self.chance.u8(..)),
            4 => out.truncate(at),
            5 => {
                let other = self.chance.choice(self.corpus).unwrap().body();
                out.truncate(at);
                out.extend_from_slice(&other[self.chance.usize(0..=other.len())..]);
            }
            _ => {
                let end = self.chance.usize(at..=out.len());
                out.splice(at..at, body[at..end].iter().copied());
            }
        }
        out
    }

    /// Mutates one member; the result is still a JSON document.
    fn members(&mut self, body: &Bytes) -> Vec<u8> {
        let Ok(Value::Object(mut members)) = serde_json::from_slice(body) else { return self.bytes(body) };
        // Half of the mutations go to a nested object, if there is one.
        let nested = members.iter().find(|(_, value)| value.is_object()).map(|(name, _)| name.clone());
        if let Some(name) = nested.filter(|_| self.chance.bool()) {
            let inner = self.members(&members[&name].to_string().into());
            if let Ok(inner) = serde_json::from_slice(&inner) {
                members.insert(name, inner);
                return serde_json::to_vec(&members).unwrap();
            }
        }
        let names: Vec<String> = members.keys().cloned().collect();
        let Some(name) = self.chance.choice(&names).cloned() else { return self.bytes(body) };
        let value = self.chance.choice(&self.values).cloned().unwrap();
        match self.chance.u8(0..9) {
            0 => drop(members.remove(&name)),
            1 | 2 => drop(members.insert(name, value)),
            3 => {
                let old = members.remove(&name).unwrap();
                members.insert(
                    self.chance.choice([name.to_lowercase(), name.to_uppercase(), format!("{name} ")]).unwrap(),
                    old,
                );
            }
            4 => {
                let old = members.remove(&name).unwrap();
                members.insert(
                    name,
                    self.chance.choice([json!([old]), json!({"BizCode": old}), json!(old.to_string())]).unwrap(),
                );
            }
            // Copies a member to the name of another.
            5 => drop(members.insert(self.chance.choice(&names).cloned().unwrap(), members[&name].clone())),
            6 => {
                let names = [
                    "ResultObject",
                    "Response",
                    "Error",
                    "Result",
                    "BizCode",
                    "Code",
                    "match",
                    "msg",
                    "ok",
                    "respCode",
                    "Extra",
                    "name",
                ];
                members.insert(self.chance.choice(names).unwrap().to_owned(), value);
            }
            // The first members as a list, which derived deserializers accept for a struct.
            7 => {
                let mut list = String::from_utf8_lossy(body).into_owned();
                for name in names {
                    list = list.replacen(&format!("{}:", json!(name)), "", 1);
                }
                let members: Vec<&str> = list[1..list.len() - 1].split(',').collect();
                return format!("[{}]", members[..self.chance.usize(0..=members.len())].join(",")).into_bytes();
            }
            // Repeats a member.
            _ => {
                let rest = serde_json::to_string(&members).unwrap();
                return format!("{{{}:{value},{}", json!(name), &rest[1..]).into_bytes();
            }
        }
        serde_json::to_vec(&members).unwrap()
    }
}
