"""A studio on models that have learned nothing, one for all tests of a process."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient
from starlette.types import ASGIApp

from megatron_music.score.midi_writer import write_midi
from megatron_music.score.notes import Piece, Track
from megatron_music.studio import service
from megatron_music.studio.app import create_app
from megatron_music.studio.server import BoundedProtocol, find_models
from megatron_music.studio.service import Studio
from megatron_music.tokenizer.structure import INPUTS
from megatron_music.tokenizer.vocabulary import TokenizerSettings
from tests.generate.conftest import CHORALE, untrained

ADDRESS = "http://127.0.0.1"


def offer(studio: Studio) -> TestClient:
    """Return a client of a studio, by a name of this machine."""
    return TestClient(create_app(studio), base_url=ADDRESS)


SYLLABLES = ["Twin", "kle ", "star\n", "how ", "I ", "won", "der ", "so "]


def karaoke(path: Path) -> Path:
    """Write a karaoke file of two bars: two lines, a syllable for each quarter note."""
    onset = np.arange(8) * 4
    tune = Track(73, onset, onset + 4, 60 + onset // 4, syllables=np.array(SYLLABLES, np.str_))
    write_midi(Piece(4, 2, (tune,)), path, 60)
    return path


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[int]:
    """Serve an application as the studio does, but for its beginning; give the port."""
    config = uvicorn.Config(
        app, port=0, http=BoundedProtocol, lifespan="off", log_config=None, timeout_keep_alive=60
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await running


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported choir: four voices, two bars a window, told where it stands."""
    settings = TokenizerSettings(bars=2, ensemble=CHORALE)
    return untrained(tmp_path_factory.mktemp("choir"), settings, 256, inputs=INPUTS)


@pytest.fixture(scope="session")
def expressive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model of any instruments that knows dynamics, tempi, metres and labels."""
    told = TokenizerSettings(
        bars=2, velocity=8, tempo=True, metres=("3/4", "4/4"), attributes=("GENRE=JAZZ",)
    )
    return untrained(tmp_path_factory.mktemp("expressive"), told, 512)


@pytest.fixture(scope="session")
def client(
    model: Path, expressive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    studio = Studio(find_models([model, expressive]), tmp_path_factory.mktemp("studio"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "POOL_SONGS", 1)
        with offer(studio) as opened:
            yield opened
