"""A report as a page: headings, tables and pictures, in one file that loads nothing."""

from pathlib import Path

from megatron_music.evaluate.report import as_page

MARKDOWN = """# A <model>

Two figures:

| figure | value |
|---|---|
| loss | 0.55 |

![Loss](loss.png)
![Elsewhere](other.png)
"""


def test_markdown_becomes_one_page_with_its_pictures_inside(tmp_path: Path) -> None:
    (tmp_path / "loss.png").write_bytes(b"picture")
    page = as_page(MARKDOWN, tmp_path)
    assert "<title>A &lt;model&gt;</title>" in page
    assert "<td>0.55</td>" in page
    assert 'src="data:image/png;base64,cGljdHVyZQ=="' in page
    assert 'src="other.png"' in page
    assert "<model>" not in page
    assert "http" not in page
