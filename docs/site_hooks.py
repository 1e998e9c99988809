"""What `make docs` does with the pages: the README becomes the first, links to code lead to it."""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Make the README the first page."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=readme))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to other pages lead there, and links out of docs/ to the repository."""
    own = posixpath.dirname(page.file.src_uri)
    folder = "." if page.file.src_uri == "index.md" else posixpath.join("docs", own)

    def target(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, link[1]))
        inside = path.removeprefix("docs/")
        if path.startswith("docs/") and files.get_file_from_path(inside):
            return posixpath.relpath(inside, own or ".")
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"{config.repo_url}/{kind}/main/{path}"

    return LINK.sub(target, markdown)
