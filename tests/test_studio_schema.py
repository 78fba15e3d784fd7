"""Whatever the API page allows, and much that it does not, is answered as that page says: requests made by schemathesis."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings

import studio_pieces as pieces
from impasto.studio.app import create_app
from impasto.studio.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    app = create_app(Settings(data=tmp_path_factory.mktemp("schema") / "data"))
    yield app
    app.state.studio.database.close()


@pytest.fixture(scope="module")
def api_schema(app: FastAPI) -> Any:
    return schemathesis.openapi.from_dict(pieces.Local(app).get("/api/v1/openapi.json").json())


schema = (
    schemathesis.pytest.from_fixture("api_schema")
    .exclude(path_regex="/events$|/preview$|/zip$|/sheet$")
    .exclude(
        path="/api/v1/uploads",
        method="POST",  # these wait for a worker, which is not here
    )
)


@schema.parametrize()
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_request_is_answered_as_the_page_says(case: Any, app: FastAPI) -> None:
    what = case.as_transport_kwargs(base_url=pieces.HOME)
    known = {key: value for key, value in what.items() if key in ("params", "json", "headers", "cookies")}
    content = what.get("data") if isinstance(what.get("data"), bytes | str) else None
    try:
        response: httpx.Response = pieces.Local(app).request(what["method"], what["url"], **known, content=content)
    except (httpx.InvalidURL, UnicodeEncodeError, ValueError):
        return  # no client could send it
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert response.json()["error"]["message"]
