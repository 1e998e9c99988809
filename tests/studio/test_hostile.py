"""Whatever is sent, the studio answers with a sentence, never with an error of its own."""

from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.slow

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
EXAMPLES = settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


def operations(client: TestClient) -> list[tuple[str, str]]:
    """Return all methods and paths that OpenAPI describes but streams, which end with a job."""
    paths = client.get("/api/v1/openapi.json").json()["paths"]
    return [
        (method, path)
        for path, methods in paths.items()
        for method in methods
        if not path.endswith("/events")
    ]


@given(data=st.data())
@EXAMPLES
def test_any_request_is_answered(client: TestClient, data: st.DataObject) -> None:
    method, path = data.draw(st.sampled_from(operations(client)))
    # No number that would have to be composed: that is tested elsewhere, and takes seconds.
    words = st.text(max_size=30).map(lambda word: quote(f"x{word}", safe="", errors="ignore"))
    path = path.replace("{number}", data.draw(words)).replace("{key}", data.draw(words))
    path = path.replace("{kind}", data.draw(words))
    body: Any = data.draw(JSON)
    try:
        answer = client.request(method.upper(), path, json=body)
    except ValueError:  # what JSON or an address cannot spell is never sent
        return
    assert answer.status_code < 500, (method, path, body, answer.text)


@given(
    wishes=st.dictionaries(
        st.sampled_from(["bars", "fill_bars", "instruments", "voice", "vary", "seed", "density"]),
        JSON,
        max_size=3,
    )
)
@EXAMPLES
def test_any_wish_is_refused_or_taken(client: TestClient, wishes: dict[str, Any]) -> None:
    try:
        answer = client.post("/api/v1/compositions", json={"wishes": {"count": 1} | wishes})
    except ValueError:
        return
    assert answer.status_code in (202, 422, 429), answer.text
    if answer.status_code == 202:
        client.delete(f"/api/v1/compositions/{answer.json()['key']}")


@given(content=st.binary(max_size=200))
@EXAMPLES
def test_any_file_is_read_or_refused(client: TestClient, content: bytes) -> None:
    answer = client.post("/api/v1/projects", content=b"MThd" + content)
    assert answer.status_code in (201, 422, 429), answer.text
