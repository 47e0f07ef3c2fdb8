"""Runs curl with an AppCode as on the market's pages: plain.py PATH HOST:PORT APPCODE "" [APPCODE ""]…

Reads requests, one JSON object a line with the index of the AppCode, and writes what curl printed, one JSON line each.
"""

import json
import subprocess
import sys


def ask(path, endpoint, app_code, name, id_number):
    if path == "/idcard":
        parameters = ["--get", "--data-urlencode", f"xm={name}", "--data-urlencode", f"sfz={id_number}"]
    else:
        parameters = ["--header", "Content-Type: application/x-www-form-urlencoded; charset=UTF-8"]
        parameters += ["--data-urlencode", f"idNo={id_number}", "--data-urlencode", f"name={name}"]
    url = f"http://{endpoint}{path}"
    command = ["curl", "--silent", "--show-error", "--include", "--max-time", "20", url]
    curl = subprocess.run(
        command + ["--header", f"Authorization: APPCODE {app_code}"] + parameters,
        stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )
    if curl.returncode:
        return {"outcome": "failed", "message": curl.stderr.decode().strip()}
    head, _, body = curl.stdout.decode().partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    pairs = (line.split(": ", 1) for line in lines if ": " in line)
    headers = {name.lower(): value for name, value in pairs}
    said = {"outcome": "answered", "status": int(status.split()[1])}
    said["code"], said["message"] = headers.get("x-ca-error-code"), headers.get("x-ca-error-message")
    said["verification_id"] = headers.get("x-idgate-verification-id")
    try:
        said["body"] = json.loads(body)
    except ValueError:
        said["body"] = body
    return said


def main():
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        said = ask(*sys.argv[1:3], sys.argv[3::2][question["pair"]], question["name"], question["id_number"])
        print(json.dumps(said, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
