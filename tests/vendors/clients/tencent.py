"""Runs the vendor's Python client as a caller would; only endpoint, protocol and key are set.

  tencent.py tc3|v1 HOST:PORT ID KEY [ID KEY]…

Reads requests, one JSON object a line with the index of the pair to use, and writes what the client returned or
raised, one JSON line each. The first line it writes says that it is ready.
"""

import json
import sys

from tencentcloud.common.credential import Credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.faceid.v20180301 import faceid_client, models

TIMEOUT_SECONDS = 20


def client(method, endpoint, secret_id, secret_key):
    http = HttpProfile(protocol="http", endpoint=endpoint, reqTimeout=TIMEOUT_SECONDS)
    profile = ClientProfile(signMethod=method, httpProfile=http)
    return faceid_client.FaceidClient(Credential(secret_id, secret_key), "", profile)


def ask(one, name, id_number):
    request = models.IdCardVerificationRequest()
    request.IdCard, request.Name = id_number, name
    answer = one.IdCardVerification(request)
    return {"outcome": "returned", "body": json.loads(answer.to_json_string(ensure_ascii=False))}


def raised(error):
    """What a caller can read from an exception."""
    said = {"outcome": "raised", "type": type(error).__name__, "message": str(error)}
    for name, attribute in {"code": "code", "message": "message", "request_id": "requestId"}.items():
        if getattr(error, attribute, None) is not None:
            said[name] = getattr(error, attribute)
    return said


def main():
    method = {"tc3": "TC3-HMAC-SHA256", "v1": "HmacSHA256"}[sys.argv[1]]
    clients = [client(method, sys.argv[2], *pair) for pair in zip(sys.argv[3::2], sys.argv[4::2])]
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            said = ask(clients[question["pair"]], question["name"], question["id_number"])
        except Exception as error:  # Any exception that a caller would have to catch is a result.
            said = raised(error)
        print(json.dumps(said, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
