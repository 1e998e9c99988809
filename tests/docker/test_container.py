"""The image, really built on a stand-in for NVIDIA's, and a composer really trained in it.

`make test-container` runs this: as root, with buildah and mmdebstrap, in some minutes.
"""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.data.collection import folder_of_songs
from tests.docker import stand_in
from tests.launch.lab import free_port, started, wait_for
from tests.launch.scripts import ROOT, environment
from tests.train.conftest import losses

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif("TEST_CONTAINER" not in os.environ, reason="make test-container builds it"),
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the stand-in has Python 3.11"),
]

IMAGE = "localhost/megatron_music:test"
SOMEONE = 1234
"""A uid that neither this machine nor the image knows."""

SMALL = (
    "train.train_iters=4 train.global_batch_size=2 train.micro_batch_size=1 model.num_layers=1 "
    "model.hidden_size=32 model.num_attention_heads=2 model.seq_length=128 log.eval_iters=1"
)


@dataclass(frozen=True)
class Checkout:
    """A checkout that belongs to SOMEONE, and a machine whose only engine is buildah."""

    folder: Path
    settings: dict[str, str]

    def run(self, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a command there."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=environment(**self.settings, **settings),
            capture_output=True,
            text=True,
            check=False,
        )

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the image."""
        return self.run("docker/run.sh", *command)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout with the image built by `make container`."""
    folder = tmp_path_factory.mktemp("container")
    storage = stand_in.storage(folder / "storage")
    stand_in.build("localhost/stand-in:test", storage)
    copy = folder / "checkout"
    ignored = shutil.ignore_patterns(".*", "data", "runs", "build", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT, copy, ignore=lambda at, names: _top(at, names, ignored))
    shutil.copy(ROOT / ".dockerignore", copy)
    folder_of_songs(folder / "songs", 16)
    stand_in.tool("chown", "-R", f"{SOMEONE}:{SOMEONE}", str(copy), str(folder / "songs"))
    for above in (folder, folder.parent, folder.parent.parent):
        above.chmod(above.stat().st_mode | 0o055)
    engine = {
        "CONTAINERS_STORAGE_CONF": storage["CONTAINERS_STORAGE_CONF"],
        "BUILDAH_ISOLATION": "chroot",
        "ENGINE": "buildah",
        "IMAGE": IMAGE,
        "CACHE_DIR": str(folder / "cache"),
    }
    made = Checkout(copy, engine)
    built = made.run(
        *("make", "container", "BASE=volta"),
        BASE_IMAGE="localhost/stand-in:test",
        BUILD_ARGS=stand_in.network_options(folder),
    )
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    (folder / "built.txt").write_text(built.stdout)
    yield made
    shutil.rmtree(folder, ignore_errors=True)


def _top(at: str, names: list[str], ignored: object) -> set[str]:
    """Ignore some names at the top of the checkout, and caches everywhere."""
    if Path(at) == ROOT:
        return set(ignored(at, names))  # type: ignore[operator]
    return {name for name in names if name == "__pycache__"}


def test_the_bases_torch_stayed_and_the_build_says_so(checkout: Checkout) -> None:
    said = (checkout.folder.parent / "built.txt").read_text()
    assert f"torch: {stand_in.TORCH} before, {stand_in.TORCH} after" in said
    assert "imported: torch" in said
    told = checkout.inside("python3", "-c", "import torch; print(torch.__version__)")
    assert told.stdout.strip() == stand_in.TORCH, told.stderr


def test_the_image_says_what_it_is_and_how_it_feels(checkout: Checkout) -> None:
    told = checkout.run("buildah", "inspect", "--type", "image", IMAGE)
    config = json.loads(told.stdout)["Docker"]["config"]
    assert config["User"] == "1000:1000"
    assert config["Labels"]["org.opencontainers.image.base.name"] == "localhost/stand-in:test"
    assert config["Healthcheck"]["Test"][-1] == "health"
    assert not any("TOKEN" in variable for variable in config["Env"])


def test_the_machine_inside_lacks_nothing_that_is_needed(checkout: Checkout) -> None:
    told = checkout.inside("megatron-music", "doctor", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["ready"]
    assert stand_in.BANNER in told.stderr


def test_make_pretrain_walks_the_whole_way_as_someone_unknown(checkout: Checkout) -> None:
    songs = checkout.folder.parent / "songs"
    wish = ("RUNTIME=docker", f"DATASET={songs}", "RECIPE=tiny", "N=1", "BARS=2", f"ARGS={SMALL}")
    walked = checkout.run("make", "pretrain", *wish)
    assert walked.returncode == 0, walked.stdout[-2000:] + walked.stderr[-4000:]
    assert "runtime: docker" in walked.stdout
    assert not (checkout.folder / ".venv").exists()
    run = checkout.folder / "runs" / "songs-tiny"
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert log[-1]["iteration"] == 4
    music = list((run / "music").iterdir())
    assert {path.suffix for path in music} >= {".mid", ".wav", ".png"}
    assert {path.stat().st_uid for path in (run, *music)} == {SOMEONE}


def test_two_processes_train_as_one_inside(checkout: Checkout) -> None:
    trained = checkout.run(
        *("docker/run.sh", "pretrain", "tiny", "--data", "data/songs", "--run-dir", "runs/two"),
        *SMALL.split(),
        NPROC="2",
        TP="2",
    )
    assert trained.returncode == 0, trained.stderr[-3000:]
    one, two = (losses(checkout.folder / "runs" / name) for name in ("songs-tiny", "two"))
    assert two == pytest.approx(one, abs=1e-4)


def test_an_error_inside_is_one_line_outside(checkout: Checkout) -> None:
    failed = checkout.inside("pretrain", "tiny", "--data", "data/none")
    assert failed.returncode == 1
    assert [line for line in failed.stderr.splitlines() if line.startswith("error:")] == [
        "error: no data set in data/none; build one with: megatron-music data build SOURCE "
        "-o data/none"
    ]


def test_make_studio_plays_a_song_and_keeps_its_votes_outside(
    checkout: Checkout, tmp_path: Path
) -> None:
    port, printed = free_port(), tmp_path / "printed.txt"
    make = ["make", "-C", str(checkout.folder), "studio", "RUNTIME=docker", f"ARGS=--port {port}"]
    song = f"http://127.0.0.1:{port}/api/v1/songs/1"
    with started(make, printed, **checkout.settings) as process:
        wait_for(port, process, printed, "/healthz")
        assert asked(f"{song}/midi").startswith(b"MThd")
        assert len(asked(f"{song}/audio")) > 10_000
        assert json.loads(asked(f"{song}/votes", b'{"value": 1}'))["votes"] == 1
        names = checkout.run("buildah", "containers", "--format", "{{.ContainerName}}")
        (running,) = names.stdout.split()
        entry = "/opt/megatron_music/docker/entrypoint.sh"
        healthy = checkout.run("buildah", "run", running, "--", entry, "health")
        assert healthy.returncode == 0, healthy.stderr
    votes = checkout.folder / "studio" / "studio.sqlite"
    assert votes.stat().st_uid == SOMEONE


def asked(address: str, body: bytes | None = None) -> bytes:
    """Return what a studio answers, to a JSON `body` if there is one."""
    request = urllib.request.Request(address, body, {"content-type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return bytes(answer.read())
