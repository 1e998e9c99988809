"""The report of an evaluation as one page for a browser: its Markdown, with the pictures inside."""

import base64
import html
import re
from pathlib import Path

_PICTURE = re.compile(r'src="([\w.-]+\.png)"')

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

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    first = next((line for line in markdown.splitlines() if line.startswith("# ")), "# Report")
    return _PAGE.format(
        title=html.escape(first.removeprefix("# ")),
        body=_PICTURE.sub(lambda found: f'src="{_embedded(folder / found[1])}"', body),
    )


def _embedded(picture: Path) -> str:
    if not picture.is_file():
        return picture.name
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
