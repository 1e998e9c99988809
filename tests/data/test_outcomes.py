"""The lines of `files.jsonl` are JSON as the standard library writes it."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from megatron_music.data.outcomes import DUPLICATE, KEPT, REFUSED, Outcome, duplicate, line


def values(outcome: Outcome) -> dict[str, Any]:
    fields = {name: value for name, value in vars(outcome).items() if name != "instruments"}
    return {name: value if value != "" else None for name, value in fields.items()}


@given(st.builds(Outcome, name=st.text(min_size=1), outcome=st.sampled_from([KEPT, REFUSED])))
def test_a_line_says_what_became_of_a_piece(outcome: Outcome) -> None:
    assert line(outcome) == (json.dumps(values(outcome)) + "\n").encode()


def test_a_name_that_is_no_utf8_is_kept() -> None:
    name = b"caf\xe9.mid".decode("utf-8", "surrogateescape")
    assert json.loads(line(Outcome(name, KEPT)))["name"] == name


def test_a_duplicate_is_refused_and_keeps_its_bars_and_fingerprint() -> None:
    kept = Outcome("b", KEPT, split="train", bars=7, windows=2, tokens=9, fingerprint="f" * 32)
    assert duplicate(line(kept), DUPLICATE, "a") == line(
        Outcome("b", REFUSED, "duplicate", "the music of a", bars=7, fingerprint="f" * 32)
    )
