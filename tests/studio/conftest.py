"""A studio on models that have learned nothing, one for all tests of a process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from megatron_music.studio.app import create_app
from megatron_music.studio.server import find_models
from megatron_music.studio.service import Studio
from megatron_music.tokenizer.structure import INPUTS
from megatron_music.tokenizer.vocabulary import TokenizerSettings
from tests.generate.conftest import CHORALE, untrained

ADDRESS = "http://127.0.0.1"


def offer(studio: Studio) -> TestClient:
    """Return a client of a studio, by a name of this machine."""
    return TestClient(create_app(studio), base_url=ADDRESS)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported choir: four voices, two bars a window, told where it stands."""
    settings = TokenizerSettings(bars=2, ensemble=CHORALE)
    return untrained(tmp_path_factory.mktemp("choir"), settings, 256, inputs=INPUTS)


@pytest.fixture(scope="session")
def client(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    studio = Studio(find_models([model]), tmp_path_factory.mktemp("studio"))
    with offer(studio) as opened:
        yield opened
