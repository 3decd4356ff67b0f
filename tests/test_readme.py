"""The code of the README and of the quickstart runs as written, and the values beside it are what it gives."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/quickstart.md", "docs/simulate.md", "docs/training.md", "docs/index.md")


def as_written(value) -> str:
    return str(value) if isinstance(value, np.generic) else repr(value)


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks(page):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)
    assert blocks, page
    scope = {}
    compared = 0
    for block in blocks:
        lines = block.splitlines()
        for node in ast.parse(block).body:
            source = ast.unparse(node)
            comment = lines[node.end_lineno - 1].partition("  # ")[2]
            if isinstance(node, ast.Expr) and re.match(r"[-(\[\d]", comment):
                assert as_written(eval(source, scope)) == comment, source
                compared += 1
            else:
                exec(source, scope)
    assert compared or page != "README.md"
