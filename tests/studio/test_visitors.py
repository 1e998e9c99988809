"""Cookies that cannot be made up, limits a visitor, and what other sites may not do."""

import pytest
from starlette.requests import Request

from megatron_music.studio.visitors import (
    Limit,
    Limiter,
    Signer,
    is_cross_site,
    is_local_name,
)


def test_a_cookie_names_its_visitor_to_the_studio_that_signed_it_alone() -> None:
    signer = Signer(b"secret")
    visitor, cookie = signer.new_visitor()
    assert signer.visitor(cookie) == visitor
    assert Signer(b"other").visitor(cookie) is None


@pytest.mark.parametrize("cookie", [None, "", ".", "anna", "anna.", "anna.0123", "é.é"])
def test_a_cookie_of_somebody_elses_making_names_nobody(cookie: str | None) -> None:
    assert Signer(b"secret").visitor(cookie) is None


def test_a_visitor_waits_after_a_burst_and_others_do_not() -> None:
    limiter = Limiter({"vote": Limit(2, 100.0)})
    assert [limiter.wait_s("vote", "anna", "a") for _ in range(2)] == [0, 0]
    assert 0 < limiter.wait_s("vote", "anna", "a") <= 100
    assert limiter.wait_s("vote", "bert", "a") == 0


def test_an_address_is_limited_however_many_visitors_it_makes_up() -> None:
    limiter = Limiter({"vote": Limit(2, 100.0)})
    taken = [limiter.wait_s("vote", f"visitor {number}", "a") == 0 for number in range(50)]
    assert sum(taken) == 20


@pytest.mark.parametrize(
    ("headers", "elsewhere"),
    [
        ({}, False),
        ({"origin": "http://127.0.0.1:8000"}, False),
        ({"origin": "http://evil.example"}, True),
        ({"origin": "null"}, True),
        ({"origin": "http://[::1"}, True),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:9000"}, True),
        ({"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:8000"}, False),
    ],
)
def test_a_request_tells_whether_a_page_of_another_site_sent_it(
    headers: dict[str, str], elsewhere: bool
) -> None:
    told = {"host": "127.0.0.1:8000"} | headers
    raw = [(name.encode(), value.encode()) for name, value in told.items()]
    assert is_cross_site(Request({"type": "http", "headers": raw})) is elsewhere


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1:8000", True),
        ("localhost", True),
        ("[::1]:8000", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        ("10.0.0.1", False),
        ("[::1", False),
    ],
)
def test_only_names_of_this_machine_are_answered(host: str, local: bool) -> None:
    assert is_local_name(host) is local
