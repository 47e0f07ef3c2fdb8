"""What a Python team would write: FastAPI, the vendor's SDK, aiobreaker, cachetools, prometheus_client; on uvicorn."""

import hashlib
import hmac
import os
import time
import uuid
from datetime import datetime, timedelta, timezone
from typing import Annotated

from aiobreaker import CircuitBreaker
from alibabacloud_cloudauth20190307 import models
from alibabacloud_cloudauth20190307.client import Client
from alibabacloud_tea_openapi.utils_models import Config
from cachetools import TTLCache
from darabonba.runtime import RuntimeOptions
from fastapi import Depends, FastAPI, Header, HTTPException, Response
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, generate_latest
from pydantic import BaseModel, Field, field_validator

LIFETIME = 24 * 3600
SECRET = b"bench-digest-key-0123456789abcdef"
API_KEY = b"Bearer bench-key"
WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
OUTCOMES = {"1": "match", "2": "mismatch", "3": "no_record"}
RUNTIME = RuntimeOptions(connect_timeout=2000, read_timeout=10000, autoretry=False)

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
breakers = {name: CircuitBreaker(fail_max=50, timeout_duration=timedelta(seconds=10)) for name in ("main", "second")}
clients = {
    name: Client(Config(access_key_id="bench-id", access_key_secret="bench-secret", protocol="HTTP", endpoint=os.environ["UPSTREAM"]))
    for name in breakers
}
cache: TTLCache = TTLCache(maxsize=1_000_000, ttl=LIFETIME)
total = Counter("verify", "answers", ["outcome", "source"])
seconds = Histogram("verify_seconds", "time per answer", ["source"])


class Verify(BaseModel):
    model_config = {"extra": "forbid"}
    name: str = Field(min_length=2, max_length=60)
    id_number: str = Field(pattern=r"^[1-9][0-9]{16}[0-9X]$")

    @field_validator("id_number")
    @classmethod
    def is_valid(cls, number: str) -> str:
        if "10X98765432"[sum((ord(digit) - 48) * weight for digit, weight in zip(number, WEIGHTS)) % 11] != number[17]:
            raise ValueError("check character")
        if not 1 <= int(number[10:12]) <= 12 or not 1 <= int(number[12:14]) <= 31:
            raise ValueError("date")
        return number


class Answer(BaseModel):
    request_id: str
    outcome: str
    matched: bool
    code: str
    message: str
    provider: str
    provider_request_id: str
    cached: bool
    degraded: bool
    checked_at: str
    expires_at: str
    elapsed_us: int


async def authenticate(authorization: Annotated[str, Header()] = "") -> None:
    if not hmac.compare_digest(authorization.encode(), API_KEY):
        raise HTTPException(401)


async def ask(name: str, id_number: str) -> dict:
    request = models.Id2MetaVerifyRequest(param_type="normal", user_name=name, identify_num=id_number)
    for provider, breaker in breakers.items():
        try:
            answer = await breaker.call_async(clients[provider].id_2meta_verify_with_options_async, request, RUNTIME)
            break
        except Exception:
            continue
    else:
        total.labels("error", "provider").inc()
        raise HTTPException(503)
    code = answer.body.result_object.biz_code
    now = datetime.now(timezone.utc)
    return {
        "code": code,
        "outcome": OUTCOMES.get(code, "unknown"),
        "provider": provider,
        "provider_request_id": answer.body.request_id,
        "checked_at": now.isoformat(timespec="milliseconds"),
        "expires_at": (now + timedelta(seconds=LIFETIME)).isoformat(timespec="milliseconds"),
    }


@app.post("/v1/verify", dependencies=[Depends(authenticate)])
async def verify(question: Verify) -> Answer:
    began = time.perf_counter()
    key = hmac.digest(SECRET, f"{question.name}|{question.id_number}".encode(), hashlib.sha256)
    entry = cache.get(key)
    cached = entry is not None
    if entry is None:
        entry = await ask(question.name, question.id_number)
        cache[key] = entry
    took = time.perf_counter() - began
    source = "cache" if cached else "provider"
    total.labels(entry["outcome"], source).inc()
    seconds.labels(source).observe(took)
    return Answer(
        request_id=uuid.uuid4().hex,
        matched=entry["code"] == "1",
        message="name and number belong together",
        cached=cached,
        degraded=entry["provider"] != "main",
        elapsed_us=int(took * 1e6),
        **entry,
    )


@app.get("/metrics")
async def metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
