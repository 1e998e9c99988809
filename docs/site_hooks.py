"""What `make docs` does with the pages: the README becomes the first, links to code are text."""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Make the README the first page."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=readme))
    return files


def on_page_markdown(
    markdown: str,
    page: Page,
    config: MkDocsConfig,  # noqa: ARG001 - MkDocs passes it by name
    files: Files,
) -> str:
    """Resolve links to other pages; leave the text alone of links out of docs/."""
    own = posixpath.dirname(page.file.src_uri)
    folder = "." if page.file.src_uri == "index.md" else posixpath.join("docs", own)

    def resolved(link: re.Match[str]) -> str:
        mark, text, target, anchor = link[1], link[2], link[3], link[4] or ""
        path = posixpath.normpath(posixpath.join(folder, target))
        inside = path.removeprefix("docs/")
        if path.startswith("docs/") and files.get_file_from_path(inside):
            return f"{mark}[{text}]({posixpath.relpath(inside, own or '.')}{anchor})"
        # The site has no address of a repository that it could send a reader to.
        return text

    return LINK.sub(resolved, markdown)
