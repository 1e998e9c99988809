"""Write the report of an evaluation: report.md and .html, pictures, report.json, critic.json."""

import base64
import html
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from megatron_music.evaluate import plots
from megatron_music.evaluate.bootstrap import Estimate
from megatron_music.evaluate.comparison import SETS, FigureRow, HistogramRow
from megatron_music.evaluate.embedding import by_fifths, by_interval
from megatron_music.evaluate.evaluation import Evaluation
from megatron_music.evaluate.heldout import whole_share
from megatron_music.evaluate.report_cache import JSON_FILE, evaluation_identity, software
from megatron_music.files import atomic_write, write_text

REPORT_FILE = "report.md"
TEMPLATE = Path(__file__).with_name("report.md.j2")
SHOWN_SONGS = 5
PAGE_FILE = "report.html"


def write_report(found: Evaluation, folder: Path) -> dict[str, Any]:
    """Write the report into `folder` and return its figures; raises WriteError.

    `report.json` is written last: if it exists, the report is complete.
    """
    figures = as_json(found)
    first = next(iter(found.losses.values()))
    runs = (found.copying["held_out"], found.copying["composed"])
    real = np.array(found.verdict.real_scores)
    composed = np.array(list(found.verdict.song_scores.values()))
    pictures: dict[str, Callable[[], bytes]] = {
        "loss.png": lambda: plots.loss_plot(first.by_kind, first.illegal_by_kind),
        "figures.png": lambda: plots.figures_plot(found.figures),
        "histograms.png": lambda: plots.histograms_plot(found.histograms),
        "scores.png": lambda: plots.scores_plot(real, composed, runs),
    }
    # Of one token there is no cosine to draw.
    if len(found.notes.codes) > 1:
        pictures["notes.png"] = lambda: plots.notes_plot(found.notes)
    if len(found.instruments.codes) > 1:
        pictures["instruments.png"] = lambda: plots.instruments_plot(found.instruments)
    if len(found.attributes.codes) > 1:
        words = found.vocabulary.settings.attributes
        pictures["attributes.png"] = lambda: plots.attributes_plot(found.attributes, words)
    for name, draw in pictures.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_bytes(draw())
    found.verdict.critic.save(folder)
    text = as_markdown(found)
    write_text(folder / REPORT_FILE, text)
    write_text(folder / PAGE_FILE, as_page(text, folder))
    write_text(folder / JSON_FILE, json.dumps(figures, indent=2) + "\n")
    return figures


def as_markdown(found: Evaluation) -> str:
    """Return the report as Markdown, with links to pictures in the same folder."""
    from jinja2 import Environment

    environment = Environment(autoescape=False, keep_trailing_newline=True)  # noqa: S701
    environment.filters |= {
        "span": _span,
        "percent": _percent,
        "whole_share": whole_share,
        "divergence": lambda of: f"{of.divergence:.3f}" if of.divergence < 10 else "over 10",
        "mean_run": lambda runs: (
            sum(bars * count for bars, count in runs.items()) / max(sum(runs.values()), 1)
        ),
    }
    has_notes = len(found.notes.codes) > 1
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        found=found,
        software=software(),
        outcomes=Counter(sample.outcome for sample in found.free),
        legal_tokens_median=np.median([sample.legal_tokens for sample in found.free]),
        mistakes=[sample.reason for sample in found.free if sample.reason],
        longest=sorted({bars for runs in found.copying.values() for bars in runs}),
        shown_songs=SHOWN_SONGS,
        intervals=[_cosine(one) for one in by_interval(found.notes)] if has_notes else [],
        fifths=[_cosine(one) for one in by_fifths(found.notes)] if has_notes else [],
    )


def _span(estimate: Estimate | None, digits: int = 3) -> str:
    if estimate is None:
        return "-"
    value, low, high = (f"{n:.{digits}f}" for n in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def _percent(estimate: Estimate) -> str:
    value, low, high = (f"{100 * n:.2f}" for n in (estimate.value, estimate.low, estimate.high))
    return f"{value} % [{low}, {high}]"


def _cosine(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:.2f}"


def as_json(found: Evaluation) -> dict[str, Any]:
    """Return the figures of the report for JSON; estimates are value, low and high."""
    verdict = found.verdict
    outcomes = [sample.outcome for sample in found.free]
    words = found.vocabulary.settings.attributes
    return {
        "identity": evaluation_identity(found.model, found.data, found.request),
        "model": str(found.model),
        "data": str(found.data),
        "vocabulary_hash": found.vocabulary.hash,
        "software": software(),
        "request": asdict(found.request),
        "losses": _plain(found.losses),
        "unigram_nats_per_token": found.unigram,
        "free_samples": {
            "whole": asdict(whole_share(found.free)),
            **{name: outcomes.count(name) for name in ("broken", "unfinished")},
            "legal_tokens_median": float(np.median([s.legal_tokens for s in found.free])),
            "reasons": sorted({s.reason for s in found.free if s.reason}),
        },
        "windows": found.windows,
        "figures": {name: _figure_json(row) for name, row in found.figures.items()},
        "voices": {name: _figure_json(row) for name, row in found.voices.items()} or None,
        "real_endings_on_the_tonic": _plain(found.real_endings),
        "histograms": {
            row.name: dict(zip(SETS, map(_numbers, row.means), strict=True))
            | {"overlap_of_means": row.overlap, "control_overlap_of_means": row.control_overlap}
            | _apart(row)
            for row in found.histograms
        },
        "held_over_barlines": asdict(found.seams),
        "copying": _plain(found.copying),
        "critic": {
            "area_under_curve": asdict(verdict.area),
            "control_area_under_curve": asdict(verdict.control),
            "song_scores": {str(seed): score for seed, score in verdict.song_scores.items()},
            "ranking": verdict.ranking,
        },
        "words": None if found.words is None else asdict(found.words),
        "labels": _plain(found.labels),
        "embedding": {
            "pitches": found.notes.codes.tolist(),
            "cosine_by_interval": _numbers(by_interval(found.notes)),
            "cosine_by_fifths": _numbers(by_fifths(found.notes)),
            "instruments": found.instruments.codes.tolist(),
            "attributes": {
                "labels": [words[code] for code in found.attributes.codes.tolist()],
                "cosines": found.attributes.cosines.round(4).tolist(),
            },
        },
    }


def _plain(value: Any) -> Any:
    """Return estimates and the like as JSON's types, at any depth."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _figure_json(row: FigureRow) -> dict[str, Any]:
    means = {name: asdict(one) for name, one in zip(SETS, row.means, strict=True)}
    return means | _apart(row)


def _apart(row: FigureRow | HistogramRow) -> dict[str, Any]:
    return {"composed_apart": asdict(row.composed), "control_apart": asdict(row.control)}


def _numbers(values: "np.ndarray[Any, np.dtype[np.float64]]") -> list[float | None]:
    return [None if np.isnan(value) else round(value, 6) for value in values.tolist()]


_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.55 system-ui, sans-serif; color: #22262b; background: #f4f6f8; margin: 0; }}
main {{ max-width: 60rem; margin: 1rem auto; padding: 1rem 2rem 2rem; background: #fff; }}
h1 {{ font-size: 1.6rem; }} h2 {{ font-size: 1.25rem; margin-top: 2rem; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
table {{ font-variant-numeric: tabular-nums; }}
th, td {{ border-bottom: 1px solid #dfe3e8; padding: .3rem .7rem; text-align: left; }}
img {{ display: block; max-width: 100%; height: auto; margin: .6rem auto; }}
code {{ background: #eef1f4; border-radius: 4px; padding: .05rem .3rem; overflow-wrap: anywhere; }}
pre code {{ display: block; overflow-x: auto; padding: .6rem; }}
a {{ color: #2f6fb5; }}
</style>
<main>
{body}
</main>
</html>
"""


def as_page(markdown: str, folder: Path) -> str:
    """Return Markdown as HTML with the PNG files of `folder` inside; it loads nothing."""
    from markdown_it import MarkdownIt

    # No raw HTML: names of files and labels in the report are a user's.
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    for name in set(re.findall(r'src="([^"/]+\.png)"', body)):
        if (folder / name).is_file():
            data = base64.b64encode((folder / name).read_bytes()).decode()
            body = body.replace(f'src="{name}"', f'src="data:image/png;base64,{data}"')
    first = next((line for line in markdown.splitlines() if line.startswith("# ")), "# Report")
    return _PAGE.format(title=html.escape(first.removeprefix("# ")), body=body)
