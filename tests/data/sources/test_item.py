"""Every reason for leaving music out is explained, and none is explained that is not given."""

import re
from pathlib import Path

from megatron_music.data.encoding.quality import RULES
from megatron_music.data.encoding.records import DUPLICATE, NEAR_DUPLICATE
from megatron_music.data.sources.item import Refusal

ROOT = Path(__file__).parents[3]


def explained() -> set[str]:
    return set(re.findall(r"^ *\| ([\w-]+) +\| [^|]+\|$", Refusal.__doc__ or "", re.MULTILINE)) - {
        "reason"
    }


def test_the_page_about_collections_explains_each_reason() -> None:
    page = (ROOT / "docs" / "collections.md").read_text(encoding="utf-8")
    table = page.partition("| reason |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {reason for row in rows for reason in re.findall(r"`([\w-]+)`", row)} == explained()


def test_the_reasons_explained_are_those_that_are_given() -> None:
    sources = [*(ROOT / "megatron_music").rglob("*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    given = re.findall(r"Refusal\(\s*\"(\w+)\"", text)
    given += re.findall(r"SkippedItem\([^()]*?, \"(\w+)\"", text)
    given += re.findall(r"REFUSED, \"(\w+)\"", text)
    given += re.findall(r"refused\([\w.]+, \"(\w+)\"", text)
    given += re.findall(r"MidiError\((?:[^()]|\([^()]*\)|\{[^{}]*\})*?\"(\w+)\",?\s*\)", text)
    given += re.findall(r"reason: str = \"(\w+)\"", text)
    from megatron_music.score.midi_file import FAULTS

    given += [*(reason for reason, _ in FAULTS.values()), *RULES, DUPLICATE, NEAR_DUPLICATE]
    assert explained() <= set(given)
    assert set(given) <= explained()
