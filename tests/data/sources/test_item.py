"""Every reason for leaving music out is explained."""

import re
from pathlib import Path

from megatron_music.data.records import DUPLICATE, NEAR_DUPLICATE, Refusal
from megatron_music.data.shards.quality import RULES
from megatron_music.score.midi_reader import FAULTS

ROOT = Path(__file__).parents[3]


def test_the_page_about_collections_explains_each_reason() -> None:
    table = r"^ *\| ([\w-]+) +\| [^|]+\|$"
    explained = set(re.findall(table, Refusal.__doc__ or "", re.MULTILINE)) - {"reason"}
    assert {
        *RULES,
        DUPLICATE,
        NEAR_DUPLICATE,
        *(reason for reason, _ in FAULTS.values()),
    } <= explained
    page = (ROOT / "docs" / "collections.md").read_text(encoding="utf-8")
    table = page.partition("| reason |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {reason for row in rows for reason in re.findall(r"`([\w-]+)`", row)} == explained
