"""The sections of a GPU day: what they compare, what the docs promise of them, a short dry run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from megatron_music.profiling.sweep.spec import expand, load_sweep
from profiling.gpu_day.measures import our_means, smi_means
from tests.launch.scripts import ROOT
from tests.train.conftest import data

pytest.importorskip("torch")

from profiling.gpu_day.__main__ import SECTIONS
from profiling.gpu_day.trainings import SAVED, cut_back, largest_difference

__all__ = ["data"]

CPU_ALONE = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
NAMES = {one.name for one in SECTIONS}


def write_run(run: Path, losses: dict[int, float]) -> Path:
    run.mkdir(parents=True)
    lines = [json.dumps({"iteration": at, "lm_loss": loss}) for at, loss in losses.items()]
    (run / "log.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return run


def test_runs_are_compared_where_both_have_a_loss(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", {1: 6.0, 2: 5.0, 3: 4.0})
    other = write_run(tmp_path / "other", {2: 5.25, 3: 3.9, 4: 9.0})
    assert largest_difference(one, other) == pytest.approx(0.25)
    assert largest_difference(one, tmp_path / "absent") is None


def test_a_run_is_cut_back_to_its_first_checkpoint(tmp_path: Path) -> None:
    whole = write_run(tmp_path / "whole", {1: 6.0})
    for step in (SAVED, 2 * SAVED):
        folder = whole / "checkpoints" / f"step_{step}"
        folder.mkdir(parents=True)
        (folder / "meta.json").write_text("{}")
    for name in ("latest", "best"):
        (whole / "checkpoints" / name).symlink_to(f"step_{2 * SAVED}")
    assert cut_back(whole, tmp_path / "again")
    left = tmp_path / "again" / "checkpoints"
    assert sorted(path.name for path in left.iterdir()) == ["latest", f"step_{SAVED}"]
    assert (left / "latest").resolve() == left / f"step_{SAVED}"
    assert not cut_back(tmp_path / "absent", tmp_path / "never")


def test_nvidia_smis_columns_are_averaged_without_missing_values() -> None:
    text = "power.draw [W], clocks.sm [MHz]\n100.5, 1700\n101.5, 1800\n[N/A], 1900\n99, "
    assert smi_means(text) == {"power.draw [W]": 100.33, "clocks.sm [MHz]": 1800.0}
    assert smi_means("") == {}


def test_our_recording_is_averaged_in_the_same_units(tmp_path: Path) -> None:
    from megatron_music.profiling.nvml.reader import DeviceSample, Sample, to_json

    def sample(at_s: float, power_w: float, energy_mj: int) -> str:
        values: dict[str, Any] = dict.fromkeys(DeviceSample.__dataclass_fields__)
        values |= {"index": 0, "uuid": "GPU-1", "name": "NVIDIA Example", "lost": False}
        values |= {"power_w": power_w, "energy_mj": energy_mj, "memory_used_bytes": 3 << 20}
        return to_json(Sample(at_s, (DeviceSample(**values),)))

    file = tmp_path / "ours.jsonl"
    file.write_text(f"{sample(10.0, 100.0, 0)}\n{sample(12.0, 120.0, 220_000)}\n")
    means = our_means(file)
    assert (means["power_w"], means["power_from_energy_w"]) == (110.0, 110.0)
    assert (means["max_memory_mib"], means["samples"]) == (3.0, 2)


@pytest.mark.parametrize(
    ("name", "precision", "count"), [("gpu-day", "bf16", 5), ("gpu-day-dry", "fp32", 1)]
)
def test_the_sweeps_hold_few_configurations(name: str, precision: str, count: int) -> None:
    sweep = load_sweep(ROOT / "profiling" / "sweeps" / f"{name}.yaml")
    found = expand(sweep, 1, precision)
    assert len(found) == count
    assert {one.recipe.train.precision for one in found} == {precision}


def test_every_line_of_the_never_run_list_names_the_section_that_proves_it() -> None:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    lines = re.findall(
        r"^\| (.+) \| (.+) \|$", text.partition("## Never run on a GPU")[2], re.MULTILINE
    )
    rows = [row for row in lines if row[0] not in ("what", "---")]
    assert len(rows) >= 8
    for what, proof in rows:
        named = set(re.findall(r"`([a-z-]+)`", proof))
        assert named <= NAMES, what
        assert named or proof.startswith("no section"), what
    proven = {name for _, proof in rows for name in re.findall(r"`([a-z-]+)`", proof)}
    assert proven >= NAMES - {"machine", "tests"}


@pytest.mark.slow
def test_a_dry_run_measures_without_a_gpu_and_writes_its_page(data: Path, tmp_path: Path) -> None:
    """The shortest sections; `make gpu-day` on a CPU runs all of them in some minutes."""
    words = ["--data", str(data), "-o", str(tmp_path), "--only", "machine", "where"]
    done = subprocess.run(
        [sys.executable, "-m", "profiling.gpu_day", *words],
        cwd=ROOT,
        env=CPU_ALONE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (page,) = tmp_path.glob("*_gpu-day-dry-run.md")
    assert str(page) in done.stderr
    told = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in told["sections"]] == [one.name for one in SECTIONS]
    found = {one["name"]: one for one in told["sections"] if one["outcome"] == "ok"}
    assert set(found) == {"machine", "where"}
    assert {"data", "forward", "backward", "optimizer"} <= set(found["where"]["values"]["phases_s"])
    assert (tmp_path / "trace.json.gz").is_file()


def test_without_a_data_set_nothing_is_begun(tmp_path: Path) -> None:
    words = ["--data", str(tmp_path / "absent"), "-o", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "profiling.gpu_day", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
