//! The roles of operators, and what each request on the admin listener needs.
//!
//! Invariant: what [`needed`] does not know needs the right to operate, so that a new route is closed to all others
//! until it has a line there.

use http::Method;
use serde::Deserialize;

/// What an operator is there for. One may have several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// Sees how the gateway is doing, and no answer about a person.
    Viewer,
    /// Also finds answers, and asks questions in the console.
    Support,
    /// Finds answers and changes things: all that operators could do before there were roles.
    Operator,
    /// Sees and finds everything, and changes nothing.
    Auditor,
}

/// The roles of one operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles(Vec<Role>);

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// To see how the gateway is doing.
    View,
    /// To find answers, of whichever client.
    LookUp,
    /// To ask about a person.
    Ask,
    /// To change something.
    Operate,
}

impl Role {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    const fn has(self, right: Right) -> bool {
        matches!(
            (self, right),
            (_, Right::View)
                | (Self::Support | Self::Operator | Self::Auditor, Right::LookUp)
                | (Self::Support, Right::Ask)
                | (Self::Operator, Right::Operate)
        )
    }
}

impl Roles {
    /// Of an operator whose section names none: what there was before roles.
    pub fn before_roles() -> Vec<Role> {
        vec![Role::Operator]
    }

    pub fn new(roles: &[Role]) -> Self {
        Self(roles.to_vec())
    }

    /// Everything, for `local`.
    pub fn all() -> Self {
        Self(vec![Role::Support, Role::Operator])
    }

    pub fn may(&self, right: Right) -> bool {
        self.0.iter().any(|role| role.has(right))
    }

    /// The words of all roles.
    pub fn words(&self) -> String {
        self.0.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl Right {
    /// The roles that have it, in words.
    pub const fn of_whom(self) -> &'static str {
        match self {
            Self::View => "every role",
            Self::LookUp => "support, operator or auditor",
            Self::Ask => "support",
            Self::Operate => "operator",
        }
    }
}

/// What a request on the admin listener needs.
pub fn needed(method: &Method, path: &str) -> Right {
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    let is_below = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    match path {
        _ if is_below("/v1/verifications") || is_below("/console/answers") => Right::LookUp,
        "/console/changes" | "/console/money/reconcile" => Right::LookUp,
        "/v1/changes" if is_read => Right::LookUp,
        _ if is_below("/console/ask") => Right::Ask,
        "/console" | "/console/" | "/console/providers" | "/console/money" | "/console/clients" if is_read => {
            Right::View
        }
        "/console/sign-out" => Right::View,
        "/metrics" | "/v1/status" if is_read => Right::View,
        _ if is_read && is_below("/sandbox") => Right::View,
        _ => Right::Operate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_has_its_rights_and_an_unknown_route_needs_the_most() {
        let may = |role: Role, method: Method, path: &str| Roles::new(&[role]).may(needed(&method, path));
        let all = [Role::Viewer, Role::Support, Role::Operator, Role::Auditor];
        let cases = [
            (Method::GET, "/v1/status", [true, true, true, true]),
            (Method::GET, "/console/", [true, true, true, true]),
            (Method::GET, "/console/providers", [true, true, true, true]),
            (Method::POST, "/console/providers/one/isolate", [false, false, true, false]),
            (Method::POST, "/v1/providers/one/isolate", [false, false, true, false]),
            (Method::POST, "/v1/reload", [false, false, true, false]),
            (Method::POST, "/v1/subjects/forget", [false, false, true, false]),
            (Method::POST, "/v1/verifications/search", [false, true, true, true]),
            (Method::GET, "/v1/verifications", [false, true, true, true]),
            (Method::POST, "/console/answers/export", [false, true, true, true]),
            (Method::POST, "/console/money/reconcile", [false, true, true, true]),
            (Method::POST, "/console/ask", [false, true, false, false]),
            (Method::GET, "/v1/verificationsx", [false, false, true, false]),
            (Method::PUT, "/sandbox/one/fault", [false, false, true, false]),
            (Method::GET, "/new", [false, false, true, false]),
        ];
        for (method, path, expected) in cases {
            assert_eq!(all.map(|role| may(role, method.clone(), path)), expected, "{method} {path}");
        }
    }
}
