"""The best of a sweep run again under nsys: a program of that name stands for it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from megatron_music.errors import MissingError
from megatron_music.profiling.report.render import write_report
from megatron_music.profiling.sweep import capture, hardware, trial
from megatron_music.profiling.sweep.capture import TRACED_ITERS, capture_file, trace
from megatron_music.profiling.sweep.hardware import Gpu, Machine, Peaks
from megatron_music.profiling.sweep.results import read_rows
from megatron_music.profiling.sweep.run import run_sweep
from megatron_music.profiling.sweep.trial import TrialContext
from tests.profiling import fake_sweep, fake_training
from tests.profiling.capture import GEMM, NCCL, Capture
from tests.profiling.test_sweep import Write, behaviours, points, write

__all__ = ["write"]

Traced = Callable[..., list[str]]

NSYS = Path(__file__).with_name("fake_nsys.sh")
GPU = Gpu("Tesla V100-SXM3-32GB", "00000000-0000-0000-0000-000000000000", 32 << 30, (7, 0))
STEP_MS = 500
WARMUP = 1


def recorded(path: Path) -> Path:
    """What nsys would export: five iterations, half of each a product, a tenth of it exchange."""
    capture = Capture()
    for number in range(TRACED_ITERS):
        start = number * STEP_MS
        capture.range(f"iteration {WARMUP + 1 + number}", start, start + STEP_MS)
        capture.kernel(GEMM, start, start + STEP_MS // 2)
        capture.kernel(NCCL, start + STEP_MS // 2, start + STEP_MS * 6 // 10, stream=20)
    capture.kernel(GEMM, TRACED_ITERS * STEP_MS - 1, TRACED_ITERS * STEP_MS)
    return capture.write(path)


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the stand-in on the path as `nsys`; what it is told lies in the file returned."""
    (tmp_path / "bin").mkdir()
    shutil.copy(NSYS, tmp_path / "bin" / "nsys")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("FAKE_NSYS_NOTES", str(tmp_path / "notes.txt"))
    monkeypatch.setenv("FAKE_NSYS_EXPORT", str(recorded(tmp_path / "recorded.sqlite")))
    monkeypatch.setattr(capture, "train_command", fake_training.command)
    monkeypatch.setattr(trial, "train_command", fake_training.command)
    return tmp_path / "notes.txt"


def context(folder: Path) -> TrialContext:
    machine = Machine((GPU,), 2)
    return TrialContext(folder, machine, Peaks(folder, machine, print))


@pytest.fixture
def traced(write: Write, tmp_path: Path) -> Traced:
    """Trace a configuration in `tmp_path`: `traced(seed, timeout_s)`; return what was said."""

    def go(seed: int = fake_training.FINE, timeout_s: float = 30) -> list[str]:
        said: list[str] = []
        chosen = points(write(behaviours(seed)))
        trace(chosen, context(tmp_path), None, timeout_s, said.append)
        return said

    return go


def test_nsys_traces_the_range_that_the_training_opens_and_exports_it(
    notes: Path, traced: Traced, write: Write, tmp_path: Path
) -> None:
    (one,) = points(write(behaviours(fake_training.FINE)))
    said = traced()
    folder = (tmp_path / "captures" / one.key).resolve()
    profiled, exported = notes.read_text().splitlines()
    assert profiled.startswith(
        f"profile -s none -t nvtx,cuda -o {folder}/capture --force-overwrite true "
        "--capture-range=cudaProfilerApi --capture-range-end=stop "
    )
    assert "train.train_iters=6 log.profile_step_start=1 log.profile_step_end=6" in profiled
    assert exported == (
        f"export --type sqlite --force-overwrite true -o {folder}/capture.sqlite "
        f"{folder}/capture.nsys-rep"
    )
    assert capture_file(tmp_path, one.key).is_file()
    assert said[0].startswith("traced by nsys: 1 process, TP=1")
    assert traced() == [], "what is traced already is not traced again"
    assert len(notes.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("seed", "told"),
    [
        (fake_training.RAISES, "failed, RuntimeError: the matrix is singular"),
        (fake_training.HANGS, "failed, took longer than 1 s"),
    ],
)
@pytest.mark.usefixtures("notes")
def test_a_run_that_fails_under_nsys_is_a_remark(traced: Traced, seed: int, told: str) -> None:
    assert told in traced(seed, 1 if seed == fake_training.HANGS else 30)[0]


@pytest.mark.usefixtures("notes")
def test_nsys_that_leaves_nothing_is_a_remark(
    traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_NSYS_EXPORT", "")
    assert "nsys wrote no capture.nsys-rep" in traced()[0]


def test_without_nsys_one_line_says_so(
    write: Write, traced: Traced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert traced() == [
        "no captures: nsys is not on the path; install nsight-systems, or leave out --nsys and "
        "captures"
    ]
    with pytest.raises(MissingError, match="install nsight-systems"):
        run_sweep(write(behaviours(1)), tmp_path / "out", captures=1)


@pytest.mark.usefixtures("notes")
def test_a_sweep_traces_its_best_and_the_report_reads_it(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: dict[str, str]
) -> None:
    def answer(work: object, *_: object) -> object:
        return fake_sweep.PEAK if work is hardware.measure_peak else (GPU,)

    for name, value in driver.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(hardware, "run_in_subprocess", answer)
    folder, kinds = tmp_path / "out", fake_training
    path = write(behaviours(kinds.FINE, kinds.SILENT), captures=1)
    run_sweep(path, folder)
    ran = next(row for row in read_rows(folder) if row.outcome == "ok")
    assert [found.name for found in (folder / "captures").iterdir()] == [ran.key]
    page = write_report(folder).html.read_text()
    assert "Where the time goes: kernels" in page
    assert (folder / "report-kernels.png").is_file()
    text = (folder / "report.md").read_text()
    assert "| 3 | 500.0 | 2000.0 |" in text  # the fake training's log is not of this capture
