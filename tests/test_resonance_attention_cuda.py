"""CUDA twins of attention against the CPU: simulator or device, tiny sizes."""

import numpy as np
import pytest

import primeattn as pa
from primeattn._runtime import devices
from primeattn.resonance import StateArrays

from .test_resonance_cuda import CLOSE, batch

pytestmark = pytest.mark.cudasim

FORMS = {
    "softmax": {"temperature": 0.5},
    "original": {"kind": "original"},
    "ruzicka": {"overlap": "ruzicka"},
    "linear": {"form": "linear"},
    "linear-amplitude": {"form": "linear", "amplitude": True},
}
OPTIONS = [{}, {"causal": True, "order": "rotor"}, {"causal": True, "mask": "keys"}, {"mask": "pairs"}]


def both(rng, options, dtype="float64"):
    a, b = batch(rng, [3, 0, 2], dtype), batch(rng, [2, 4, 1, 3], dtype)
    v = rng.standard_normal((4, 4)).astype(dtype)
    shape = {"keys": (4,), "pairs": (3, 4)}.get(options.get("mask"))
    if shape:
        options = options | {"mask": rng.random(shape) < 0.7}
    return (a, b, v), (StateArrays.of(a).to_device(), StateArrays.of(b).to_device(), pa.to_device(v)), options


CASES = [
    (form, options) for form in FORMS for options in OPTIONS if "linear" not in form or options.get("mask") != "pairs"
]


@pytest.mark.parametrize(("form", "options"), CASES, ids=str)
def test_attention_and_gradients(rng, form, options):
    host, device, options = both(rng, {"heads": 2} | FORMS[form] | options)
    expected, pullback = pa.resonance.vjp("attention", *host, **options)
    found, pullback_device = pa.resonance.vjp("attention", *device, **options)
    assert devices.is_device_array(found)
    np.testing.assert_allclose(pa.to_host(found), expected, **CLOSE["float64"])
    dout = rng.standard_normal(expected.shape)
    g, h = pullback_device(pa.to_device(dout)), pullback(dout)
    for side in ("query", "key"):
        z = pa.to_host(g[side]["amplitude"]) @ [1, 1j]
        np.testing.assert_allclose(z, h[side]["amplitude"], rtol=0, atol=1e-12)  # phases: eps / |a|
        np.testing.assert_allclose(pa.to_host(g[side]["orientation"]), h[side]["orientation"], rtol=0, atol=1e-13)
    np.testing.assert_allclose(pa.to_host(g["value"]), h["value"], rtol=0, atol=1e-13)
    np.testing.assert_allclose(g["weights"], h["weights"], rtol=0, atol=1e-13)
    assert g["temperature"] == pytest.approx(h["temperature"], abs=1e-13)


@pytest.mark.parametrize("form", ["softmax", "linear"])
def test_float32(rng, form):
    host, device, options = both(rng, {"form": form, "causal": True}, "float32")
    found = pa.resonance.attention(*device, **options)
    assert found.dtype == np.float32
    np.testing.assert_allclose(pa.to_host(found), pa.resonance.attention(*host, **options), **CLOSE["float32"])


@pytest.mark.parametrize("merge", ["markley", "original"])
def test_attended_states(rng, merge):
    (a, b, _), (x, y, _), _ = both(rng, {})
    expected = pa.resonance.attend_states(a, b, b, heads=2, merge=merge, causal=True)
    found = pa.resonance.attend_states(x, y, y, heads=2, merge=merge, causal=True)
    np.testing.assert_allclose(pa.to_host(found.weights), expected.weights, **CLOSE["float64"])
    np.testing.assert_array_equal(pa.to_host(found.states.primes), expected.states.primes)
    z = pa.to_host(found.states.amplitude).reshape(-1, 2) @ [1, 1j]
    np.testing.assert_allclose(z, expected.states.amplitude, rtol=0, atol=1e-14)
    q = pa.to_host(found.states.orientation).reshape(-1, 4)
    np.testing.assert_allclose(q, expected.states.orientation, rtol=0, atol=1e-12)  # eigenvectors: eps over the gap


def test_refusals(rng):
    (a, _, v), (x, y, w), _ = both(rng, {})
    with pytest.raises(TypeError, match="CUDA array"):
        pa.resonance.attention(x, y, v)
    with pytest.raises(TypeError, match="CUDA array"):
        pa.resonance.attention(a, y, w)
    with pytest.raises(TypeError, match="on the CPU"):
        pa.resonance.Stream(4).step(x, w[:3])
