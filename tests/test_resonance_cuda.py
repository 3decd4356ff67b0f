"""CUDA twins against the CPU: simulator or device, tiny sizes."""

import numpy as np
import pytest

import primeattn as pa
from primeattn._runtime import devices
from primeattn.resonance import StateArrays

from .test_resonance import VARIANTS

pytestmark = pytest.mark.cudasim

# contraction into fused multiply-adds differs between compilers: a few eps a term, at most 5 terms
CLOSE = {"float64": {"rtol": 0, "atol": 1e-14}, "float32": {"rtol": 0, "atol": 4e-6}}


def batch(rng, counts, dtype):
    primes = [np.sort(rng.choice([2, 3, 5, 7, 11], k, replace=False)) for k in counts]
    indptr = np.cumsum([0, *counts])
    z = rng.standard_normal((indptr[-1], 2)) @ [1, 1j]
    q = rng.standard_normal((indptr[-1], 4))
    return pa.PrimeStates(indptr, np.concatenate(primes), z, q).astype(dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_scores(rng, variant, dtype):
    a, b = batch(rng, [3, 0, 2], dtype), batch(rng, [2, 4, 1], dtype)
    x, y = (StateArrays.of(s).to_device() for s in (a, b))
    options = VARIANTS[variant]
    for function in (pa.resonance.score, pa.resonance.matrix):
        found = function(x, y, **options)
        assert devices.is_device_array(found)
        assert found.dtype == dtype
        np.testing.assert_allclose(pa.to_host(found), function(a, b, **options), **CLOSE[dtype])
    found = pa.resonance.components(x, y, **options)
    for name, expected in pa.resonance.components(a, b, **options).items():
        np.testing.assert_allclose(pa.to_host(found[name]), expected, **CLOSE[dtype])
    np.testing.assert_allclose(
        pa.to_host(pa.resonance.matrix(x, **options)), pa.resonance.matrix(a, **options), **CLOSE[dtype]
    )


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("function", ["score", "matrix", "matrix-self"])
def test_gradients(rng, variant, function):
    a, b = batch(rng, [3, 0, 2], "float64"), batch(rng, [2, 4, 1], "float64")
    x, y = (StateArrays.of(s).to_device() for s in (a, b))
    name, _, alone = function.partition("-")
    out, pullback = pa.resonance.vjp(name, a, None if alone else b, **VARIANTS[variant])
    out_device, pullback_device = pa.resonance.vjp(name, x, None if alone else y, **VARIANTS[variant])
    np.testing.assert_allclose(pa.to_host(out_device), out, rtol=0, atol=1e-14)
    dout = rng.standard_normal(out.shape)
    expected, found = pullback(dout), pullback_device(pa.to_device(dout))
    for side in ("a",) if alone else ("a", "b"):
        z = pa.to_host(found[side]["amplitude"]) @ [1, 1j]
        np.testing.assert_allclose(z, expected[side]["amplitude"], rtol=0, atol=1e-12)  # phases: eps / |a|
        q = pa.to_host(found[side]["orientation"])
        np.testing.assert_allclose(q, expected[side]["orientation"], rtol=0, atol=1e-13)
    np.testing.assert_allclose(found["weights"], expected["weights"], rtol=0, atol=1e-13)


def test_feature_and_shared_rows(rng):
    """Rows that only the CPU path calls today: their twins agree all the same."""
    from primeattn.resonance._features import FEATURE
    from primeattn.resonance._pairs import SHARED

    x = rng.standard_normal(16)
    w = np.array([0.2, 0.3, 0.5])
    entry = np.array([0, 1, 1])
    for owner, n, arguments, size in (
        (FEATURE, 2, (x, w), 26),
        (SHARED, 3, (entry, entry[::-1].copy(), x, x, 1, 0), 9),
    ):
        expected, found = np.zeros(size), pa.to_device(np.zeros(size))
        owner(n, *arguments, expected)
        owner(n, *(pa.to_device(v) if isinstance(v, np.ndarray) else v for v in arguments), found)
        np.testing.assert_allclose(pa.to_host(found), expected, rtol=0, atol=1e-14)


def test_refusals(rng):
    s = batch(rng, [2, 1], "float64")
    x = StateArrays.of(s).to_device()
    with pytest.raises(TypeError, match="CUDA array"):
        pa.resonance.matrix(x, s)
    for function in (pa.resonance.sparse_matrix, pa.resonance.features):
        with pytest.raises(TypeError, match="on the CPU"):
            function(x)
    with pytest.raises(TypeError, match="on the CPU"):
        pa.resonance.explain(x, 0)
    y = StateArrays.of(s.astype("float32")).to_device()
    with pytest.raises(TypeError, match="convert one on the host"):
        pa.resonance.matrix(x, y)
