"""Runs the Python sample of the provider's own page with two given regions: seed.py HOST:PORT HOST:PORT

Follows the page step by step, including its timeouts and its catch-all: it calls the first region, and the second on
"500" or any exception. The key comes from the environment. Two things differ from the page: `protocol`, because
loopback has no TLS, and the method's name, because the name on the page exists in no version.
"""

import sys

from alibabacloud_cloudauth20190307 import models
from alibabacloud_cloudauth20190307.client import Client
from alibabacloud_credentials.client import Client as Credentials
from alibabacloud_tea_openapi.models import Config
from alibabacloud_tea_util.client import Client as Util
from alibabacloud_tea_util.models import RuntimeOptions


def verify(endpoint, request):
    config = Config(credential=Credentials(), endpoint=endpoint, protocol="http")
    runtime = RuntimeOptions(read_timeout=5000, connect_timeout=5000)
    return Client(config).id_2meta_verify_with_options(request, runtime)


def auto_route(endpoints, request):
    for endpoint in endpoints:
        try:
            response = verify(endpoint, request)
            if Util.equal_number(500, response.status_code):
                continue
            if response is not None and response.body is not None:
                if Util.equal_string("500", response.body.code):
                    continue
            return response
        except Exception as error:  # As on the page.
            print(error, file=sys.stderr)
    return None


def main():
    name, id_number = sys.stdin.read().split("\n")[:2]
    request = models.Id2MetaVerifyRequest(param_type="normal", user_name=name, identify_num=id_number)
    body = auto_route(sys.argv[1:], request).body
    print(body.code, body.message, body.result_object.biz_code)


if __name__ == "__main__":
    main()
