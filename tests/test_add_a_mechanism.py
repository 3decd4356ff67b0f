"""The page "Add a mechanism in ten minutes": its code is taken from it, put where it says, and run."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

import primeattn.attention
from primeattn.attention import MECHANISMS, Mechanism, Property
from primeattn.attention._cores.ratio import KINDS

PAGE = Path(__file__).parent.parent / "docs" / "contributing" / "add_a_mechanism.md"


def blocks() -> dict[str, str]:
    """Code by the comment that it begins with."""
    found = re.findall(r"```python\n# (.*?)\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    assert len(found) == 4
    return dict(found)


def module(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def scope(tmp_path_factory):
    """The two files, imported as if they stood in the repository."""
    folder, code, known = tmp_path_factory.mktemp("taylor"), blocks(), dict(KINDS)
    names = {"naive": ("tests/naive/taylor.py", "taylor_oracle")}
    names["own"] = ("primeattn/attention/_taylor.py", "primeattn.attention._taylor")
    made = {}
    for key, (path, name) in names.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(code[path], "utf-8")
        made[key] = module(name, target)
    yield {"MECHANISM": made["own"].MECHANISM, "naive": made["naive"]}
    for kind in set(KINDS) - set(known):
        del KINDS[kind]
    for _, name in names.values():
        del sys.modules[name]
    vars(primeattn.attention).pop("_taylor", None)


def test_the_oracle_imports_nothing_of_the_package():
    assert "primeattn" not in blocks()["tests/naive/taylor.py"]


def test_the_record_is_complete(scope):
    mechanism = scope["MECHANISM"]
    assert isinstance(mechanism, Mechanism)
    assert set(mechanism.properties) == set(Property)
    assert mechanism.name not in MECHANISMS


@pytest.mark.parametrize("title", ["the checks", "the study"])
def test_the_code_of_the_page_runs(scope, title):
    exec(compile(blocks()[title], f"{PAGE.name}: {title}", "exec"), scope)


def test_the_checks_are_alive(scope):
    """A wrong derivative and a wrong claim do not pass them."""
    own = scope["MECHANISM"]

    def wrong(q, k, v, **options):
        out, pullback = own.vjp(q, k, v, **options)
        return out, lambda dout: {n: g * (1 + 1e-6) for n, g in pullback(dout).items()}

    claimed = {**own.properties, Property.SIGN_INVARIANT: own.properties[Property.PSD]}
    score = own.score._replace(slopes={"q": "scale*q"})
    for broken in (own._replace(vjp=wrong), own._replace(properties=claimed), own._replace(score=score)):
        with pytest.raises(AssertionError):
            exec(blocks()["the checks"], scope | {"MECHANISM": broken})
