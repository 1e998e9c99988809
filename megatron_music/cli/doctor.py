"""`doctor`: what this machine has, and a fix for what it lacks."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

UNWRAPPED = 120
"""Columns where no terminal says how many it has."""

COLOURS = {"ok": "green", "optional": "yellow", "needed": "bold red"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="For a program to read.")] = False,
) -> None:
    """Show what this machine has: Python, GPUs, libraries, sound, tools.

    A row is ok, optional (the project does without) or needed (install it). Ends with exit code 1
    if something needed is missing.

    Example: `megatron-music doctor --json`
    """
    from megatron_music.profiling.doctor import examine, is_ready

    findings = examine()
    if as_json:
        report = {"ready": is_ready(findings), "findings": [asdict(one) for one in findings]}
        print(json.dumps(report, indent=2))
    else:
        from rich import box
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("", "found", "status", "what to do"):
            table.add_column(heading, overflow="fold")
        for one in findings:
            colour = COLOURS[one.status]
            status = f"[{colour}]{one.status}[/]"
            table.add_row(one.name, escape(one.found), status, escape(one.fix))
        # Without a terminal rich assumes 80 columns, in which the advice would be folded.
        console = Console()
        console.print(table, width=console.width if console.is_terminal else UNWRAPPED)
    if not is_ready(findings):
        raise typer.Exit(1)
