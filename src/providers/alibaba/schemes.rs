//! The kinds of credential of Alibaba Cloud's gateways.

use crate::providers::{Field, Issued, Part, Scheme};

/// An AccessKey pair, which signs requests to the RPC gateway.
pub static ACCESS_KEY: Scheme = Scheme {
    name: "access-key",
    title: "An AccessKey pair, for the SDKs of the RPC gateway",
    fields: &[
        Field::secret("access_key_id", Part::Id),
        Field::secret("access_key_secret", Part::Secret),
        Field::secret("security_token", Part::Token),
    ],
    is_bearer: false,
    issued: Issued {
        list: "access_keys",
        id: "id",
        noun: "access key",
        id_label: "AccessKey id",
        secret_label: "AccessKey secret",
        tells_end: true,
    },
};

/// An AppCode, sent as is to the API gateway of the cloud market.
pub static APP_CODE: Scheme = Scheme {
    name: "app-code",
    title: "An AppCode, for market APIs",
    fields: &[Field::secret("app_code", Part::Secret)],
    is_bearer: true,
    issued: Issued {
        list: "app_codes",
        id: "id",
        noun: "AppCode",
        id_label: "",
        secret_label: "AppCode",
        tells_end: false,
    },
};

/// An AppKey pair, which signs requests to the API gateway of the cloud market.
pub static APP_KEY: Scheme = Scheme {
    name: "app-key",
    title: "An AppKey pair, for signed calls of market APIs",
    fields: &[Field::plain("app_key", Part::Id), Field::secret("app_secret", Part::Secret)],
    is_bearer: false,
    issued: Issued {
        list: "app_keys",
        id: "key",
        noun: "app key",
        id_label: "AppKey",
        secret_label: "AppSecret",
        tells_end: false,
    },
};
