"""The site: every page builds without a warning and asks no other machine for anything."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import megatron_music

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_site_builds_strictly_without_a_network(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="no MkDocs: make test-all installs it")
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | nowhere, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    api = (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    for name in megatron_music.__all__:
        assert f'id="megatron_music.{name}"' in api
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)', page.read_text()
        )
        assert loaded == []
