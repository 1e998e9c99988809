"""The lines of `files.jsonl` are JSON as the standard library writes it."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from megatron_music.data.records import KEPT, REFUSED, FileRecord, line


def values(outcome: FileRecord) -> dict[str, Any]:
    fields = {name: value for name, value in vars(outcome).items() if name != "instruments"}
    return {name: value if value != "" else None for name, value in fields.items()}


@given(st.builds(FileRecord, name=st.text(min_size=1), outcome=st.sampled_from([KEPT, REFUSED])))
def test_a_line_says_what_became_of_a_piece(outcome: FileRecord) -> None:
    assert line(outcome) == (json.dumps(values(outcome)) + "\n").encode()


def test_a_name_that_is_not_utf8_is_kept() -> None:
    name = b"caf\xe9.mid".decode("utf-8", "surrogateescape")
    assert json.loads(line(FileRecord(name, KEPT)))["name"] == name
