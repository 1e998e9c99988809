"""The report: figures worked by hand from made-up rows, in four forms."""

import csv
import re
import shutil
import struct
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from megatron_music.errors import InputError
from megatron_music.profiling.report.render import short_labels, write_report
from megatron_music.profiling.sweep.results import Row, append_row, best_first

RAN = Row(
    key="aaa",
    outcome="ok",
    reason="",
    command="torchrun --nproc-per-node 2 -m megatron_music train tiny",
    processes=2,
    precision="fp16",
    tensor_parallel=2,
    pipeline_parallel=1,
    data_parallel=1,
    micro_batch_size=1,
    global_batch_size=2,
    recompute="full",
    seq_length=4,
    num_layers=1,
    hidden_size=8,
    padded_vocab_size=128,
    device="NVIDIA <X1>",
    devices=2,
    step_times_s=(0.5, 0.1, 0.2),
    peak_tflops=1e-6,
    peak_source="made up",
    memory_bytes=3 << 30,
    mean_power_w=250.0,
    energy_j=12.0,
)
FASTER = replace(RAN, key="bbb", step_times_s=(0.1,), energy_j=None, memory_bytes=None)
FAILED = replace(
    RAN, key="ccc", outcome="out of memory", reason="a | b", step_times_s=(), devices=0
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sweep's folder with a row of each kind."""
    for row in (RAN, FAILED, FASTER):
        append_row(tmp_path, row)
    return tmp_path


def test_the_figures_are_those_worked_by_hand() -> None:
    """B s l h^2 = 2 x 4 x 1 x 64 = 512; s/6h = 1/12; V/16lh = 1; V/12lh = 4/3; median 0.2 s.

    96 x 512 x 25/12 = 102,400; 72 x 512 x 29/12 = 89,088; 72 x 512 x 57/24 = 87,552 FLOPs on two
    devices in 0.2 s, of a peak of 1e6 FLOP/s each. 12 J for 3 x 8 tokens.
    """
    assert RAN.step_time_s == 0.2
    assert RAN.tokens_per_s == pytest.approx(20)
    shares = {"equation3": 0.256, "model": 0.22272, "model_causal": 0.21888}
    assert {name: RAN.utilisation(name) for name in shares} == pytest.approx(shares)
    assert RAN.tflops("equation3") == pytest.approx(2.56e-7)
    assert RAN.joules_per_million_tokens == pytest.approx(500_000)


def test_without_a_peak_there_is_no_utilisation_and_what_failed_is_not_among_the_best() -> None:
    assert replace(RAN, peak_tflops=None).utilisation() is None
    assert [row.key for row in best_first([RAN, FAILED, FASTER])] == ["bbb", "aaa"]


def test_the_csv_has_every_row_with_unrounded_figures(folder: Path) -> None:
    write_report(folder)
    with (folder / "report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["key"] for row in rows] == ["bbb", "aaa", "ccc"]
    assert float(rows[1]["tokens_per_s_per_device"]) == pytest.approx(20)
    assert float(rows[1]["utilisation_model_causal"]) == pytest.approx(0.21888)
    assert float(rows[1]["memory_gib"]) == 3
    assert float(rows[1]["joules_per_million_tokens"]) == pytest.approx(500_000)
    assert rows[0]["joules_per_million_tokens"] == ""
    assert (rows[2]["outcome"], rows[2]["tensor_parallel"]) == ("out of memory", "2")


def test_the_markdown_shows_figures_reasons_and_commands(folder: Path) -> None:
    write_report(folder)
    text = (folder / "report.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("| aaa |"))
    assert "25.60% | 22.27% | 21.89%" in line
    assert "500,000" in line
    assert "| out of memory | a \\| b |" in text
    assert text.count(RAN.command) == 3
    assert "hardware FLOPs" in text
    assert "2 of 3 configurations ran" in text
    head = next(line for line in text.splitlines() if line.startswith("| row |"))
    assert "step time" in head
    assert "precision" not in head, "what is the same in all rows comes once"
    same = "device NVIDIA <X1>; devices 2; processes 2; precision fp16"
    assert f"The same in all rows: {same}" in text


class Reader(HTMLParser):
    """Collects what a page would load, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [str(value) for name, value in attrs if name in ("src", "href", "srcset")]


def test_the_page_loads_nothing_from_elsewhere(folder: Path) -> None:
    page = write_report(folder).html.read_text()
    reader = Reader()
    reader.feed(page)
    pictures = [load for load in reader.loads if not load.startswith("#")]
    assert all(load.startswith("data:image/png;base64,") for load in pictures)
    assert len(pictures) == 1
    assert {f"#{row.key}" for row in (RAN, FASTER, FAILED)} == set(reader.loads) - set(pictures)
    assert not {"script", "link", "iframe"} & reader.tags
    assert not re.search(r"https?://|url\(|@import", page)
    assert "<X1>" not in page
    assert "Peak of NVIDIA &lt;X1&gt;, fp16: 1e-06 TFLOP/s (made up)." in page
    for heading in ("equation3 (hardware)", "model (model)", "model_causal (model)"):
        assert f"utilisation, {heading}" in page


def test_a_peak_that_was_measured_too_low_is_remarked_on(folder: Path) -> None:
    assert "above 100 %" not in write_report(folder).html.read_text()
    append_row(folder, replace(RAN, peak_tflops=1e-7, peak_source="measured"))
    assert "the measured peak is too low" in write_report(folder).html.read_text()


def test_pictures_of_an_earlier_report_do_not_stay(folder: Path) -> None:
    append_row(folder, replace(RAN, key="ddd", processes=4, devices=4))
    write_report(folder)
    assert "![Scaling](report-scaling.png)" in (folder / "report.md").read_text()
    append_row(folder, replace(FAILED, key="ddd"))
    write_report(folder)
    assert [path.name for path in folder.glob("*.png")] == ["report.png"]
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")


def test_timelines_of_chosen_rows_are_shown(folder: Path) -> None:
    for key in ("aaa", "bbb"):
        run = folder / "runs" / key
        run.mkdir(parents=True)
        line = '{"time_s": 1.0, "cpu_percent": 50.0, "memory_used_bytes": 1024}\n'
        (run / "load.jsonl").write_text(line)
    write_report(folder)
    both = png_width((folder / "report-timeline.png").read_bytes())
    write_report(folder, ["aaa"])
    assert png_width((folder / "report-timeline.png").read_bytes()) < both
    with pytest.raises(InputError, match=r"no row ccc ran in .*; choose of bbb, aaa"):
        write_report(folder, ["ccc"])


def png_width(data: bytes) -> int:
    """The width in a PNG's header, in pixels."""
    return int(struct.unpack(">I", data[16:20])[0])


@pytest.mark.slow
def test_a_browser_shows_the_page(folder: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("the report is opened in headless Chromium, and there is none here")
    page, picture = write_report(folder).html, tmp_path / "page.png"
    headless = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"]
    for wanted in (["--dump-dom"], [f"--screenshot={picture}"]):
        done = subprocess.run(
            [*headless, f"--user-data-dir={tmp_path / 'browser'}", *wanted, page.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        if wanted == ["--dump-dom"]:
            assert "2 of 3 configurations ran" in done.stdout
    assert png_width(picture.read_bytes()) == 1200
    assert len(picture.read_bytes()) > 20_000  # a blank page takes some 4,000


def test_a_report_where_nothing_ran_says_so_and_without_rows_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="profile sweep"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []
    append_row(tmp_path, FAILED)
    report = write_report(tmp_path)
    assert report.ran == ()
    assert "0 of 1 configurations ran" in report.html.read_text()


def test_values_that_are_the_same_in_all_rows_are_left_out() -> None:
    rows = [RAN, replace(RAN, micro_batch_size=2), replace(RAN, recompute="none")]
    assert short_labels(rows) == [
        "micro 1, recompute full",
        "micro 2, recompute full",
        "micro 1, recompute none",
    ]


def test_a_row_alone_or_one_like_the_others_is_named_in_full() -> None:
    assert short_labels([RAN]) == [RAN.label]
    assert short_labels([RAN, replace(RAN, key="again")]) == [RAN.label] * 2
