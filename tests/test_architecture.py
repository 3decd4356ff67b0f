"""Rules that matter are tests: public names, lazy import, the order of rooms, device imports in one place."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import primeattn

ROOT = Path(primeattn.__file__).parent
MODULES = [m.name for m in pkgutil.walk_packages(primeattn.__path__, "primeattn.")]


def imported_names(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {node.module.partition(".")[0]}
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_submodule_imports_and_no_public_function_is_shadowed_by_one():
    before = {name: getattr(primeattn, name) for name in primeattn.__all__}
    for name in MODULES:
        importlib.import_module(name)
    for name, value in before.items():
        assert getattr(primeattn, name) is value, name
    for room in (
        "quaternion",
        "resonance",
        "attention",
        "dynamics",
        "study",
        "nn",
        "train",
        "states",
        "encode",
        "plot",
        "report",
    ):
        package = importlib.import_module(f"primeattn.{room}")
        submodules = {m.name for m in pkgutil.iter_modules(getattr(package, "__path__", []))}
        functions = {n for n in getattr(package, "__all__", ()) if callable(getattr(package, n))}
        assert not submodules & functions, room


def test_all_is_complete_and_sorted_names_resolve():
    for name in primeattn.__all__:
        assert getattr(primeattn, name) is not None


def test_import_loads_nothing_heavy():
    code = (
        "import sys, primeattn; heavy = {'numpy', 'numba', 'scipy', 'sympy', 'xarray', 'matplotlib', 'rich', 'jinja2'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_devices_and_pictures_are_imported_in_one_place_each():
    allowed = {
        "numba.cuda": {"_runtime/devices.py"},
        "cupy": {"_runtime/devices.py"},
        "matplotlib": {"plot.py"},
    }
    for path in ROOT.rglob("*.py"):
        relative = path.relative_to(ROOT).as_posix()
        for module, places in allowed.items():
            if module in imported_names(path):
                assert relative in places or relative.startswith("plot/"), f"{relative} imports {module}"


def test_oracles_import_nothing_of_the_package():
    for path in (Path(__file__).parent / "naive").glob("*.py"):
        assert "primeattn" not in imported_names(path), path.name


def test_no_drawer_is_named_after_nothing():
    refused = {"utils", "util", "core", "common", "misc", "helpers", "v2"}
    assert not refused & {part for name in MODULES for part in name.split(".")}


def test_public_functions_have_numpydoc_docstrings():
    missing = []
    for room in (
        "primes",
        "quaternion",
        "circle",
        "encode",
        "resonance",
        "attention",
        "dynamics",
        "study",
        "nn",
        "train",
        "plot",
    ):
        module = importlib.import_module(f"primeattn.{room}")
        for name in module.__all__:
            value = getattr(module, name)
            if not callable(value) or isinstance(value, type):
                continue
            doc = value.__doc__ or ""
            if "Parameters\n" not in doc or "Examples\n" not in doc:
                missing.append(f"{room}.{name}")
    assert not missing


def test_strictly_typed_scripts_may_call_public_functions():
    """A function without annotations is refused by ``mypy --strict`` where it is called, not where it is made."""
    untyped = []
    for room in primeattn._ROOMS:
        module = importlib.import_module(f"primeattn.{room}")
        for name in module.__all__:
            value = getattr(module, name)
            made = vars(value).get("__init__") if isinstance(value, type) else value
            if inspect.isfunction(made) and not inspect.unwrap(made).__annotations__:
                untyped.append(f"{room}.{name}")
    assert not untyped


def test_a_loop_is_named_for_its_row():
    from primeattn._runtime.owners import OWNERS

    for name in MODULES:
        importlib.import_module(name)
    for owner in OWNERS:
        if owner.row.__module__.split(".")[1] not in ("attention", "resonance"):  # not renamed yet
            assert owner.cpu.__name__ == owner.row.__name__.removesuffix("_row") + "_cpu", owner.row.__module__


def test_no_page_of_the_docs_has_the_name_of_one_that_sphinx_writes():
    """Sphinx wrote its search page over a page named search, without a warning."""
    pages = {path.stem for path in (ROOT.parent / "docs").glob("*.md")}
    assert "quickstart" in pages
    assert not pages & {"search", "genindex", "modindex", "py-modindex"}
