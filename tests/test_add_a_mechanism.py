"""The page "Add a mechanism in ten minutes": its code is taken from it, put where it says, and run.

In a process and with a cache of its own: compiled loops of the toy mechanism name its module, and in the cache of the
package they would stop every later process that has no such module.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import primeattn
from primeattn.attention import MECHANISMS

PAGE = Path(__file__).parent.parent / "docs" / "contributing" / "add_a_mechanism.md"
ORACLE, OWN = "tests/naive/taylor.py", "primeattn/attention/_taylor.py"
DRIVER = """
import importlib.util, json, sys, traceback
from pathlib import Path

import primeattn.attention
from primeattn.attention import Property

folder, code = Path(sys.argv[1]), json.loads(Path(sys.argv[1], "code.json").read_text())


def module(name, path):
    spec = importlib.util.spec_from_file_location(name, folder / path)
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


naive, own = module("taylor_oracle", sys.argv[2]), module("primeattn.attention._taylor", sys.argv[3]).MECHANISM
found = {"claims": sorted(which.name for which in own.properties), "name": own.name}


def run(title, mechanism):
    try:
        exec(compile(code[title], title, "exec"), {"MECHANISM": mechanism, "naive": naive})
    except AssertionError:
        return "refused"
    except Exception:
        return traceback.format_exc()
    return "passed"


for title in ("the checks", "the study"):
    found[title] = run(title, own)


def wrong(q, k, v, **options):
    out, pullback = own.vjp(q, k, v, **options)
    return out, lambda dout: {n: g * (1 + 1e-6) for n, g in pullback(dout).items()}


claimed = {**own.properties, Property.SIGN_INVARIANT: own.properties[Property.PSD]}
score = own.score._replace(slopes={"q": "scale*q"})
broken = {"gradient": {"vjp": wrong}, "claim": {"properties": claimed}, "formula": {"score": score}}
found |= {name: run("the checks", own._replace(**change)) for name, change in broken.items()}
print(json.dumps(found))
"""


def blocks() -> dict[str, str]:
    """Code by the comment that it begins with."""
    found = re.findall(r"```python\n# (.*?)\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    assert len(found) == 4
    return dict(found)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder, code = tmp_path_factory.mktemp("taylor"), blocks()
    for path in (ORACLE, OWN):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(code[path], "utf-8")
    (folder / "code.json").write_text(json.dumps(code), "utf-8")
    (folder / "driver.py").write_text(DRIVER, "utf-8")
    root = str(Path(primeattn.__file__).parent.parent)
    environment = os.environ | {"PYTHONPATH": root, "NUMBA_CACHE_DIR": str(folder / "cache")}
    line = [sys.executable, "driver.py", str(folder), ORACLE, OWN]
    done = subprocess.run(line, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_oracle_imports_nothing_of_the_package():
    assert "primeattn" not in blocks()[ORACLE]


def test_the_record_is_complete(found):
    assert found["claims"] == sorted(which.name for which in MECHANISMS["dot_product"].properties)
    assert found["name"] not in MECHANISMS


@pytest.mark.parametrize("title", ["the checks", "the study"])
def test_the_code_of_the_page_runs(found, title):
    assert found[title] == "passed"


@pytest.mark.parametrize("what", ["gradient", "claim", "formula"])
def test_the_checks_are_alive(found, what):
    assert found[what] == "refused"
