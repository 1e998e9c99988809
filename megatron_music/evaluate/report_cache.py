"""The identity of an evaluation, so that the same one is not made twice."""

import json
from dataclasses import asdict
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megatron_music import __version__
from megatron_music.data.manifest import read_manifest
from megatron_music.generate.model_folder import model_identity

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

JSON_FILE = "report.json"
FORMAT = 4
"""Raised with each change of the figures in a report."""


def evaluation_identity(model: Path, data: Path, request: "DataclassInstance") -> str:
    """Return a sha256 of all that decides a report: model, data set, request, version.

    Raises CheckpointError or DataError if one of them is missing.
    """
    parts = [
        __version__,
        FORMAT,
        model_identity(model),
        read_manifest(data)["key"],
        asdict(request),
    ]
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def load_finished(folder: Path, identity: str) -> dict[str, Any] | None:
    """Return the figures of the report of the same evaluation, if the folder has it."""
    try:
        figures: dict[str, Any] = json.loads((folder / JSON_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return figures if figures.get("identity") == identity else None


def software() -> str:
    """Name the versions that made the report."""
    names = ("torch", "transformers", "scikit-learn")
    return f"megatron-music {__version__}, " + ", ".join(f"{n} {version(n)}" for n in names)
