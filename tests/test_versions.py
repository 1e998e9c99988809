"""The pairs that `make test-versions` walks are those that are installed."""

import json
import re
from pathlib import Path

import pytest

from tests import versions
from tests.versions import BASE, PAIRS, PINNED, ROOT, counts, largest_difference


def pinned_core(python: str) -> str:
    name = f"py{''.join(python.split('.')[:2])}.txt"
    found = re.search(
        r"^megatron-core==(.+)$", (ROOT / "constraints" / name).read_text(), re.MULTILINE
    )
    assert found is not None
    return found[1]


def test_what_set_up_installs_is_walked() -> None:
    pinned = [pair for pair in PAIRS if pair.install == PINNED]
    assert {pair.core for pair in pinned} == {pinned_core(pair.python) for pair in pinned}
    assert "3.11.2" in {pair.python for pair in pinned}  # Debian 12's own


def test_what_the_container_installs_is_walked() -> None:
    bases = (ROOT / "docker" / "bases.env").read_text()
    current = re.search(r"^current_megatron_core=(.+)$", bases, re.MULTILINE)
    assert current is not None
    assert current[1] in {pair.core for pair in PAIRS if pair.install == BASE}


def test_every_test_that_is_walked_is_there() -> None:
    files = {ROOT / test.split("::")[0] for pair in PAIRS for test in pair.tests}
    assert [str(path) for path in files if not path.exists()] == []


def test_a_name_without_pairs_is_refused() -> None:
    with pytest.raises(SystemExit, match=r"no 2\.7; known: 3\.11, debian, 3\.12"):
        versions.main("2.7")


def test_results_are_counted_from_the_report(tmp_path: Path) -> None:
    suite = '<testsuite tests="9" failures="1" errors="1" skipped="2"></testsuite>'
    (tmp_path / "a.xml").write_text(f"<testsuites>{suite}</testsuites>")
    assert counts(tmp_path / "a.xml") == "5 passed, 2 failed, 2 skipped"
    assert "did not end" in counts(tmp_path / "none.xml")


def test_losses_of_two_pairs_are_compared(tmp_path: Path) -> None:
    for name, last in (("one", 2.0), ("other", 2.25)):
        run = tmp_path / name / "runs0" / "one"
        run.mkdir(parents=True)
        lines = ({"iteration": 1, "lm_loss": 3.0}, {"iteration": 2, "lm_loss": last})
        (run / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert largest_difference(tmp_path / "one", tmp_path / "other") == 0.25
    assert largest_difference(tmp_path / "one", tmp_path / "none") is None
