"""The help page of every node in the front end's panel, with its pictures."""

import re
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).resolve().parents[2] / "web" / "docs").glob("*.md"))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page_renders_with_its_pictures(editor, page):
    editor.add_node(page.stem)
    panel = editor.help()
    source = page.read_text(encoding="utf-8")
    heading = re.match(r"# (.+)", source).group(1)
    assert panel.get_by_role("heading", name=heading, exact=True).count() == 1
    for section in re.findall(r"^## (.+)$", source, re.MULTILINE):
        assert panel.get_by_role("heading", name=section, exact=True).count() == 1
    drawn = panel.locator("img").all()
    assert len(drawn) == len(re.findall(r"!\[", source))
    assert drawn
    for picture in drawn:
        editor.page.wait_for_function(
            "i => i.complete && i.naturalWidth > 100", arg=picture.element_handle()
        )
    assert panel.locator("table").count() >= 2
