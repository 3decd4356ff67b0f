"""What models and optimisers refuse in words, and what they survive."""

import io
import json
import os
import zipfile

import numpy as np
import pytest

from primeattn import nn

TINY = {"layers": 1, "width": 4, "heads": 1, "context": 4, "vocabulary": 5, "hidden": 3}
IDS = np.array([[0, 1, 2, 3]])


def tiny(**options):
    return nn.LanguageModel(**{**TINY, **options})


def bad_buffers(n):
    dtype = np.float32
    read_only = np.zeros(n, dtype)
    read_only.flags.writeable = False
    return [
        (np.ones(3, dtype), rf"has shape \(3,\): \({n},\), that of parameters.values, is wanted"),
        (np.ones(n + 1, dtype), rf"has shape \({n + 1},\)"),
        (np.ones((1, n), dtype), rf"has shape \(1, {n}\)"),
        (np.ones(n), "has dtype float64: float32, that of parameters.values"),
        (np.ones(n, ">f4"), "has dtype >f4: float32"),
        (np.ones(2 * n, dtype)[::2], "is not contiguous"),
        ([1.0] * n, "is list: a NumPy array"),
        (read_only, "is read-only"),
    ]


@pytest.mark.parametrize("make", [nn.AdamW, nn.SGD])
def test_optimisers_take_only_a_gradient_of_their_layout(make):
    parameters = tiny().parameters
    optimiser, before = make(parameters), parameters.values.copy()
    for gradient, message in bad_buffers(len(parameters))[:-1]:
        with pytest.raises((ValueError, TypeError), match=f"gradient {message}"):
            optimiser.update(gradient)
    assert np.array_equal(parameters.values, before)
    assert optimiser.steps == 0


@pytest.mark.parametrize("make", [nn.AdamW, nn.SGD])
def test_optimisers_take_only_moments_of_their_layout(make):
    optimiser = make(tiny().parameters)
    state = optimiser.state()
    for mean in (np.ones(()), np.ones(3, np.float32)):
        with pytest.raises(ValueError, match="mean has shape"):
            optimiser.load_state({**state, "steps": 7, "mean": mean})
    assert optimiser.steps == 0


def test_a_gradient_goes_only_to_a_buffer_of_its_layout():
    model = tiny()
    for out, message in bad_buffers(len(model.parameters)):
        with pytest.raises((ValueError, TypeError), match=f"out {message}"):
            model.loss_and_gradient(IDS, IDS, out=out)
    with pytest.raises(ValueError, match=r"out shares memory with parameters.values"):
        model.loss_and_gradient(IDS, IDS, out=model.parameters.values)
    out = np.full(len(model.parameters), np.nan, np.float32)
    assert model.loss_and_gradient(IDS, IDS, out=out)[1] is out
    assert np.array_equal(out, model.loss_and_gradient(IDS, IDS)[1])


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    resource = pytest.importorskip("resource", reason="limits of a process are those of Unix")
    path = tmp_path / "model.npz"
    tiny().save(path)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            tiny(width=16).save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.npz"]
    with pytest.raises(OSError, match="a folder, a device or a pipe"):
        tiny().save(tmp_path)


def test_parameters_that_are_not_finite_are_not_saved(tmp_path):
    model = tiny()
    model.parameters.view("norm.scale")[0] = np.nan
    with pytest.raises(ValueError, match=r"norm\.scale holds NaN or infinite numbers"):
        model.save(tmp_path / "model.npz")
    assert not (tmp_path / "model.npz").exists()


def test_damaged_parameters_do_not_load(tmp_path):
    path, model = tmp_path / "model.npz", tiny()
    model.save(path)
    with np.load(path) as file:
        members = dict(file)
    name = "parameter.embedding.table"
    for x, message in (
        (np.ones(()), r"embedding\.table is float64 of shape \(\): floats of shape \(5, 4\) are wanted"),
        (np.ones((1, 4)), r"of shape \(1, 4\)"),
        (np.ones((5, 4), complex), "is complex128"),
        (np.full((5, 4), "1.5"), "is <U3"),
        (np.ones((5, 4), int), "is int64"),
        (np.full((5, 4), np.nan), r"embedding\.table holds NaN"),
        (np.full((5, 4), 1e300), "holds NaN or infinite numbers"),
        (None, "no parameter.embedding.table"),
        (np.array([None] * 20), "Object arrays cannot be loaded"),
    ):
        changed = {k: v for k, v in {**members, name: x}.items() if v is not None}
        np.savez(path, **changed)
        with pytest.raises(ValueError, match=r"model\.npz is no model of primeattn or is damaged \(.*" + message):
            nn.LanguageModel.load(path)
    np.savez(path, **{**members, name: members[name].astype("f8")})
    assert np.array_equal(nn.LanguageModel.load(path).parameters.values, model.parameters.values)


def test_what_is_no_model_is_named(tmp_path):
    path = tmp_path / "model.npz"
    tiny().save(path)
    good, npy = path.read_bytes(), io.BytesIO()
    np.save(npy, np.zeros(3))
    half = io.BytesIO()
    with zipfile.ZipFile(half, "w") as archive:
        archive.writestr("header.npy", b"\x93NUMPY")

    def headed(header):
        file = io.BytesIO()
        np.savez(file, header=np.array(header))
        return file.getvalue()

    config = tiny().config
    for content in (
        b"",
        b"junk" * 99,
        good[: len(good) // 2],
        good[:-1],
        npy.getvalue(),
        half.getvalue(),
        headed("[1]"),
        headed("{"),
        headed('{"format": 1, "config": []}'),
        headed('{"format": "x", "config": {}}'),
        headed('{"config": {}}'),
        headed(json.dumps({"format": 1, "config": config | {"width": "x"}})),
        headed(json.dumps({"format": 1, "config": config | {"wide": 1}})),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.npz is no model of primeattn or is damaged \(.+\): write one"):
            nn.LanguageModel.load(path)
    path.write_bytes(headed('{"format": 9, "config": {}}'))
    with pytest.raises(ValueError, match="has format 9: this version reads up to 1"):
        nn.LanguageModel.load(path)
    with pytest.raises(FileNotFoundError):
        nn.LanguageModel.load(tmp_path / "nowhere.npz")


def test_a_folder_loads_and_a_model_says_what_it_is(tmp_path):
    model = tiny(rng=3)
    model.save(tmp_path / "model.npz")
    again = nn.LanguageModel.load(tmp_path)
    assert np.array_equal(again.parameters.values, model.parameters.values)
    assert repr(again) == (
        f"LanguageModel('dot_product': layers 1, width 4, heads 1, context 4, vocabulary 5; {len(model.parameters)} "
        "parameters, float32)"
    )
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"model\.npz"):
        nn.LanguageModel.load(tmp_path / "empty")


@pytest.mark.parametrize("dtype", ["int32", "float16", "complex64", ">f4", None, "number", bool])
def test_types_are_two(dtype):
    for make in (lambda: tiny(dtype=dtype), lambda: tiny().astype(dtype)):
        with pytest.raises(ValueError, match=r"dtype is .*: 'float32' or 'float64' is wanted"):
            make()
    with pytest.raises(ValueError, match="'float32' or 'float64' is wanted"):
        nn.Parameters({}, dtype=dtype)


def test_weights_are_finite_and_may_be_large():
    model = tiny(dtype="float64")
    for weights in (np.inf, np.nan, -1.0):
        with pytest.raises(ValueError, match="finite numbers >= 0 are wanted"):
            model.loss_and_gradient(IDS, IDS, np.full((1, 4), weights))
    with pytest.raises(TypeError, match="weights has dtype complex128"):
        model.loss_and_gradient(IDS, IDS, np.ones((1, 4), complex))
    shape = np.array([[1.0, 0.5, 0.25, 1.0]])
    expected, gradient = model.loss_and_gradient(IDS, IDS, shape)
    loss, again = model.loss_and_gradient(IDS, IDS, 1.7e308 * shape)
    assert loss == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(again, gradient, rtol=1e-12, atol=1e-16)


def test_numpy_numbers_become_those_of_python():
    given = {name: np.int64(n) for name, n in TINY.items()} | {"width": np.array([4]), "window": np.int64(2)}
    model = nn.LanguageModel(**given, tied=np.bool_(True), dropout=np.float32(0.5))
    assert json.loads(json.dumps(model.config)) == tiny(width=[4], window=2, tied=True, dropout=0.5).config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, "layers is 0: a whole number from 1 on"),
        ({"layers": -1}, "layers is -1"),
        ({"layers": 1.5}, "layers is 1.5"),
        ({"layers": True}, "layers is True"),
        ({"width": "x"}, "width is 'x'"),
        ({"width": 8.0, "hidden": None}, "width is 8.0"),
        ({"width": ["x"]}, r"width\[0\] is 'x'"),
        ({"hidden": 0}, "hidden is 0"),
        ({"hidden": -1}, "hidden is -1"),
        ({"hidden": 0, "mechanism": "kuramoto"}, "hidden is 0"),
        ({"heads": None}, "heads is None"),
        ({"context": 0}, "context is 0"),
        ({"vocabulary": 0}, "vocabulary is 0"),
        ({"tied": "no"}, "tied is 'no': True or False is wanted"),
        ({"checkpointing": 1}, "checkpointing is 1: True or False"),
        ({"rotary": 0}, "rotary is 0: pass positions="),
    ],
)
def test_sizes_are_refused_in_words(options, message):
    with pytest.raises(ValueError, match=message):
        tiny(**options)


def test_a_base_of_rotary_positions_is_above_0():
    with pytest.raises(ValueError, match="rotary is 0: a base above 0"):
        nn.Mixing("dot_product", 4, 1, rotary=0)


def test_generation_is_refused_in_words():
    model = tiny()
    for n in (-1, 2.5, True):
        with pytest.raises(ValueError, match=f"n is {n}: a whole number from 0 on"):
            model.generate([1], n)
    for prompt in ("ab", b"\x01", 3, [[1]], None):
        with pytest.raises(ValueError, match=r"prompt is .*: a sequence of tokens is wanted"):
            model.generate(prompt, 1)
    for temperature in ("x", None, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"temperature is .*: a number >= 0 is wanted"):
            model.generate([1], 1, temperature=temperature)
    with pytest.raises(ValueError, match="top_k is True: 1 or more"):
        model.generate([1], 1, top_k=True)
    assert model.generate([1], 0).shape == (0,)
    assert model.generate(np.array([1, 2]), np.int64(2), temperature=np.float32(1)).shape == (2,)


@pytest.mark.parametrize("options", [{}, {"orientation": "primes"}])
def test_a_resonant_model_of_zeros_has_a_value_and_a_gradient(options):
    model = tiny(mechanism="resonant", dtype="float64", **options)
    model.parameters.values[:] = 0
    np.testing.assert_allclose(model.losses(IDS, IDS), np.log(5), rtol=1e-14)
    loss, gradient = model.loss_and_gradient(IDS, IDS)
    assert loss == pytest.approx(np.log(5))
    assert np.isfinite(gradient).all()
    one = tiny(mechanism="resonant", dtype="float64", **options)  # without a bias, a quaternion of 0 counts as 1
    one.parameters.view("0.mixing.inner.project")[:] = 0
    bias = one.parameters.view("0.mixing.inner.bias")
    usual = one.logits(IDS)
    bias[:] = 0
    assert np.array_equal(one.logits(IDS), usual)
    assert len(one.generate([1], 3)) == 3
