"""Execute every notebook from its text form and store it with its outputs.

``notebooks/NAME.py`` (jupytext percent format) is what people edit and review; ``notebooks/NAME.ipynb`` beside it holds
the outputs. Without ``--write`` the text is executed and compared with the cells that are stored.
"""

import argparse
import sys
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"


def execute(path: Path):
    notebook = jupytext.read(path)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(FOLDER)}}).execute()
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # random ids would change the file at every run
        cell.metadata.pop("execution", None)
    return notebook


def sources(notebook) -> list[str]:
    return [cell.source for cell in notebook.cells]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="store the executed notebooks")
    write = parser.parse_args().write
    paths = sorted(FOLDER.glob("*.py"))
    failures = 0 if paths else 1
    for path in paths:
        start = time.perf_counter()
        notebook = execute(path)
        stored = path.with_suffix(".ipynb")
        if write:
            nbformat.write(notebook, stored)
        elif not stored.exists() or sources(nbformat.read(stored, as_version=4)) != sources(notebook):
            print(f"{stored.name} is not {path.name}: run `python scripts/notebooks.py --write`")
            failures += 1
        print(f"{path.stem}: {len(notebook.cells)} cells in {time.perf_counter() - start:.1f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
