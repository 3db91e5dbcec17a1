"""The quick starts of the pages are the ones that the tests run."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = ["README.md", "docs/install.md", "packaging/python/README.md", "packaging/node/README.md"]
MARKER = re.compile(r"<!-- file: (packaging/\S+) -->\n```\w+\n(.*?)```\n", re.S)


@pytest.mark.parametrize("page", PAGES)
def test_examples_are_the_files_that_run(page):
    found = MARKER.findall((ROOT / page).read_text())
    assert found, f"{page}: no example has a line `<!-- file: PATH -->` before it"
    for path, example in found:
        assert example == (ROOT / path).read_text(), f"{page}: not {path}; copy one to the other"
