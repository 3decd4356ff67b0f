"""Clipping and schedules: plain formulas, edges, the CUDA twins."""

import math

import numpy as np
import pytest

import primeattn as pa
from primeattn import nn
from primeattn.train._accumulate import ADD_SCALED


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 3, 255, 256, 257, 5000])
def test_clip_is_the_plain_formula(n, dtype, rng):
    x = rng.standard_normal(n).astype(dtype)
    norm = float(np.linalg.norm(x.astype(np.float64)))
    rounding = 8 * float(np.finfo(dtype).eps)
    for bound in (0.5 * norm, 2 * norm, math.inf):
        mine = x.copy()
        assert nn.clip(mine, bound) == pytest.approx(norm, rel=rounding)
        np.testing.assert_allclose(mine, x * min(1.0, bound / norm), rtol=rounding)


def test_clip_at_the_edges():
    assert nn.clip(np.zeros(0), 1.0) == 0
    assert nn.clip(np.zeros(4), 1.0) == 0
    for bad, wanted in ((np.nan, np.isnan), (np.inf, np.isinf), (-np.inf, np.isinf)):
        x = np.array([1.0, bad, 3.0])
        before = x.copy()
        assert wanted(nn.clip(x, 0.5))
        np.testing.assert_array_equal(x, before)


def test_the_norm_does_not_depend_on_threads(rng):
    import numba

    x = rng.standard_normal(1_000_000).astype(np.float32)
    found = {nn.clip(x.copy(), math.inf)}
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        found.add(nn.clip(x.copy(), math.inf))
    finally:
        numba.set_num_threads(before)
    assert len(found) == 1


@pytest.mark.parametrize("schedule", [nn.cosine, nn.constant])
def test_schedules_grow_then_do_not(schedule):
    rates = [schedule(step, 50, 10, 0.2, 0.02) for step in range(60)]
    np.testing.assert_allclose(rates[:11], 0.2 * np.arange(1, 12) / 11)
    assert (np.diff(rates[10:]) <= 0).all()
    last = 0.2 if schedule is nn.constant else 0.02
    np.testing.assert_allclose(rates[49:], last)
    assert schedule(0, 1, 0, 0.2) == 0.2


@pytest.mark.cudasim
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_twins(dtype, rng):
    x, y = (rng.standard_normal(300).astype(dtype) for _ in range(2))
    on_device = pa.to_device(x)
    mine = x.copy()
    rounding = 8 * float(np.finfo(dtype).eps)
    assert nn.clip(on_device, 1.0) == pytest.approx(nn.clip(mine, 1.0), rel=rounding)
    np.testing.assert_allclose(pa.to_host(on_device), mine, rtol=rounding)
    total = pa.to_device(y)
    ADD_SCALED(300, dtype(0.25), on_device, total)
    np.testing.assert_allclose(pa.to_host(total), y + dtype(0.25) * mine, atol=rounding)


@pytest.mark.cudasim
def test_a_run_on_cuda_is_the_run_on_the_host_and_goes_on(tmp_path):
    task = pa.train.Copy(2, 2)
    size = {"layers": 1, "width": 4, "heads": 1, "context": 4, "vocabulary": 3, "dtype": "float64"}
    options = {"batch": 2, "schedule": "constant", "warmup": 1, "log_every": 1, "evaluate_every": 0, "accumulate": 2}
    host = pa.nn.LanguageModel(**size, rng=0)
    wanted = pa.train.fit(host, task, steps=3, **options)
    device = pa.nn.LanguageModel(**size, rng=0)
    part = pa.train.fit(device, task, steps=2, device="cuda", checkpoint=tmp_path / "run", **options)
    assert hasattr(part.model.parameters.values, "copy_to_host")
    again = pa.nn.LanguageModel(**size, rng=9)
    found = pa.train.fit(again, task, steps=3, device="cuda", checkpoint=tmp_path / "run", **options)
    assert (part.step, found.step) == (2, 3)
    rounding = 1e-11  # of float64, over three steps of AdamW, which divides by small numbers
    np.testing.assert_allclose(pa.to_host(found.model.parameters.values), host.parameters.values, rtol=0, atol=rounding)
    np.testing.assert_allclose([row["loss"] for row in found.rows], [row["loss"] for row in wanted.rows], rtol=rounding)
