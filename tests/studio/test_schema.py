"""Requests that schemathesis generates from the OpenAPI document; none may cause a server error."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings

import studio_pieces as pieces
from impasto.studio.app import create_app
from impasto.studio.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
_WAITS = (
    "/events",
    "/preview",
    "/zip",
    "/sheet",
    "/export",
    "/live/runtime",
    "/{style}/picture",
    "/{style}/map",
)
"""Routes that need a worker or the network, including uploads."""


@pytest.fixture
def app(tmp_path: Path) -> Iterator[FastAPI]:
    app = create_app(Settings(data=tmp_path / "data"))
    yield app
    app.state.studio.database.close()


def operations(app: FastAPI) -> list[Any]:
    """Return all routes that work without a worker."""
    schema = schemathesis.openapi.from_dict(pieces.Local(app).get("/api/v1/openapi.json").json())
    found = [each.ok() for each in schema.get_all_operations()]
    found = [each for each in found if not each.path.endswith(_WAITS)]
    waits = [("POST", "/api/v1/uploads"), ("POST", "/api/v1/clips")]
    return [each for each in found if (each.method.upper(), each.path) not in waits]


def test_no_valid_request_causes_a_server_error(app: FastAPI) -> None:
    client = pieces.Local(app)
    asked: dict[str, int] = {}

    def ask(case: Any) -> None:
        what = case.as_transport_kwargs(base_url=pieces.HOME)
        known = {key: value for key, value in what.items() if key in ("params", "json", "headers", "cookies")}
        content = what.get("data") if isinstance(what.get("data"), bytes | str) else None
        try:
            response = client.request(what["method"], what["url"], **known, content=content)
        except (httpx.InvalidURL, UnicodeEncodeError, ValueError):
            return  # no client can send it
        asked[case.operation.label] = asked.get(case.operation.label, 0) + 1
        assert response.status_code < 500, response.text
        if response.status_code >= 400:
            assert response.json()["error"]["message"]

    for operation in operations(app):
        checks = list(HealthCheck)
        settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=checks)(
            given(operation.as_strategy())(ask)
        )()
    assert len(asked) >= 20, asked
