"""Runs one of the vendor's Python clients as a caller would; only endpoint, protocol and key are set.

  alibaba.py CLIENT HOST:PORT KEY SECRET [KEY SECRET]…

Reads requests, one JSON object a line with the index of the pair to use, and writes what the client returned or
raised, one JSON line each. The first line it writes says that it is ready.
Imports only what the chosen client needs, because the virtualenvs differ.
"""

import json
import sys

TIMEOUT_MS = 20_000


def cloudauth(endpoint, key, secret):
    """alibabacloud_cloudauth20190307, current version and 2.1.0."""
    from alibabacloud_cloudauth20190307 import models
    from alibabacloud_cloudauth20190307.client import Client
    from alibabacloud_tea_openapi.models import Config

    client = Client(Config(access_key_id=key, access_key_secret=secret, endpoint=endpoint, protocol="http"))

    def ask(name, id_number):
        request = models.Id2MetaVerifyRequest(param_type="normal", user_name=name, identify_num=id_number)
        return typed(client.id_2meta_verify_with_options(request, runtime()))

    return ask


def intl(endpoint, key, secret):
    """alibabacloud_cloudauth_intl20220809."""
    from alibabacloud_cloudauth_intl20220809 import models
    from alibabacloud_cloudauth_intl20220809.client import Client
    from alibabacloud_tea_openapi.models import Config

    client = Client(Config(access_key_id=key, access_key_secret=secret, endpoint=endpoint, protocol="http"))

    def ask(name, id_number):
        request = models.Id2MetaVerifyIntlRequest(
            product_code="ID_2META", param_type="normal", user_name=name, identify_num=id_number
        )
        return typed(client.id_2meta_verify_intl_with_options(request, runtime()))

    return ask


def core(endpoint, key, secret):
    """aliyun-python-sdk-core: a CommonRequest with the older signature."""
    from aliyunsdkcore.client import AcsClient
    from aliyunsdkcore.request import CommonRequest

    client = AcsClient(key, secret, "cn-shanghai", timeout=TIMEOUT_MS // 1000)

    def ask(name, id_number):
        request = CommonRequest(domain=endpoint, version="2019-03-07", action_name="Id2MetaVerify")
        request.set_protocol_type("http")
        request.set_method("POST")
        request.add_body_params("ParamType", "normal")
        request.add_body_params("UserName", name)
        request.add_body_params("IdentifyNum", id_number)
        return {"outcome": "returned", "body": json.loads(client.do_action_with_exception(request))}

    return ask


def runtime():
    from alibabacloud_tea_util.models import RuntimeOptions

    return RuntimeOptions(read_timeout=TIMEOUT_MS, connect_timeout=TIMEOUT_MS)


def typed(response):
    return {"outcome": "returned", "status": response.status_code, "body": response.body.to_map()}


def raised(error):
    """What a caller can read from an exception, with the same names for all clients."""
    said = {"outcome": "raised", "type": type(error).__name__}
    for name, attributes in {
        "status": ("statusCode", "status_code", "http_status"),
        "code": ("code", "error_code"),
        "retry_after": ("retry_after",),
        "message": ("message",),
    }.items():
        for attribute in attributes:
            value = getattr(error, attribute, None)
            if value is not None:
                said[name] = value
                break
    said.setdefault("message", str(error))
    return said


def main():
    make = {"cloudauth": cloudauth, "intl": intl, "core": core}[sys.argv[1]]
    clients = [make(sys.argv[2], key, secret) for key, secret in zip(sys.argv[3::2], sys.argv[4::2])]
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            said = clients[question["pair"]](question["name"], question["id_number"])
        except Exception as error:  # Any exception that a caller would have to catch is a result.
            said = raised(error)
        print(json.dumps(said, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
