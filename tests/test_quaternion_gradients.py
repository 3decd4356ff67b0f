"""Hand-derived gradients against a complex step through the naive forward, which is analytic."""

import numpy as np
import pytest

from primeattn import quaternion as q
from primeattn.quaternion._gradient import PULLBACKS

from .naive import quaternion as naive
from .test_quaternion import FUNCTIONS, draw


def complex_step(name, inputs, dout, k):
    """Gradient of ``sum(dout * f(inputs))`` with respect to input ``k``, one element at a time."""
    x = np.asarray(inputs[k], complex)
    gradient = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        moved = x.copy()
        moved[index] += 1e-30j
        values = naive.rows(getattr(naive, name), FUNCTIONS[name], *inputs[:k], moved, *inputs[k + 1 :])
        gradient[index] = np.sum(dout * values.imag) / 1e-30
    return gradient


def worst_error(name, inputs, rng):
    out, pullback = q.vjp(name, *inputs)
    np.testing.assert_array_equal(out, getattr(q, name)(*inputs))
    dout = rng.standard_normal(out.shape)
    grads = pullback(dout)
    errors = []
    for k, (key, x) in enumerate(zip(PULLBACKS[name][0].inputs, inputs, strict=True)):
        want = complex_step(name, inputs, dout, k)
        assert grads[key].shape == np.shape(x)
        assert np.abs(want).max() > 1e-6  # the reference is alive
        errors.append(np.abs(grads[key] - want).max() / np.abs(want).max())
    return max(errors)


@pytest.mark.parametrize("name", PULLBACKS)
def test_gradients(name, rng):
    count = len(FUNCTIONS[name])
    for shapes in ([(), ()], [(3,), (3,)], [(2, 1), (3,)], [(), (3,)], [(3,), (1,)]):
        inputs = draw(rng, name, [shapes[k % 2] for k in range(count)])
        assert worst_error(name, inputs, rng) < 1e-11


@pytest.mark.parametrize("name", ["exp", "log", "slerp", "angular_distance", "power"])
def test_gradients_do_not_cancel_at_small_angles(name, rng):
    for angle in (1e-3, 1e-5):
        inputs = draw(rng, name, [(4,)] * len(FUNCTIONS[name]))
        if name in ("slerp", "angular_distance"):
            # the reference itself loses digits as 1 / angle: 1e-16 / angle, with a hundredfold margin
            inputs[1] = inputs[0] + angle * inputs[1]
        else:
            inputs[0][:, 0] = np.abs(inputs[0][:, 0]) + 0.5
            inputs[0][:, 1:] *= angle
        assert worst_error(name, inputs, rng) < 1e-14 / angle


def test_gradients_in_float32(rng):
    for name, cores in FUNCTIONS.items():
        inputs = draw(rng, name, [(5,)] * len(cores), np.float32)
        out, pullback = q.vjp(name, *inputs)
        dout = rng.standard_normal(out.shape)
        grads = pullback(dout)
        wide = q.vjp(name, *(x.astype(float) for x in inputs))[1](dout.astype(np.float32))
        for key, gradient in grads.items():
            assert gradient.dtype == np.float32
            # conditions of a few tens for random arguments: 300 eps
            np.testing.assert_allclose(gradient, wide[key], rtol=0, atol=300 * 2**-23 * max(1, np.abs(wide[key]).max()))


def test_a_wrong_derivative_is_rejected(rng, monkeypatch):
    """Forget the conjugate in the gradient of the product: the check must notice."""
    function, _ = PULLBACKS["multiply"]

    def wrong(n, a, sa, b, sb, g, sg, da, db):
        da.reshape(-1, 4)[:] = q.multiply(g.reshape(-1, 4), b.reshape(-1, 4))
        db.reshape(-1, 4)[:] = q.multiply(q.conjugate(a.reshape(-1, 4)), g.reshape(-1, 4))

    monkeypatch.setitem(PULLBACKS, "multiply", (function, wrong))
    assert worst_error("multiply", draw(rng, "multiply", [(3,), (3,)]), rng) > 0.1


def test_chosen_gradients():
    one = np.array([1.0, 0, 0, 0])
    for name in ("exp", "log"):  # at the identity the differential is the identity
        g = np.array([0.1, 0.2, 0.3, 0.4])
        point = np.zeros(4) if name == "exp" else one
        np.testing.assert_allclose(q.vjp(name, point)[1](g)["a"], g, rtol=0, atol=1e-16)
    for t, want in ((2.0, np.zeros(4)), (1.0, np.arange(4.0)), (0.5, np.full(4, np.nan)), (0.0, np.zeros(4))):
        grads = q.vjp("power", np.zeros(4), t)[1](np.arange(4.0))
        np.testing.assert_array_equal(grads["a"], want)
        assert t == 0 or grads["t"] == 0
    assert np.isnan(q.vjp("norm", np.zeros(4))[1](1.0)["a"]).all()
    assert np.isnan(q.vjp("log", -one)[1](np.ones(4))["a"]).any()
    np.testing.assert_array_equal(q.vjp("angular_distance", one, one)[1](1.0)["a"], np.zeros(4))
    grads = q.vjp("slerp", one, one, 0.25)[1](np.array([1.0, 2, 3, 4]))
    np.testing.assert_allclose(grads["a"], 0.75 * np.array([0, 2, 3, 4]), rtol=0, atol=1e-15)
    np.testing.assert_allclose(grads["b"], 0.25 * np.array([0, 2, 3, 4]), rtol=0, atol=1e-15)
    assert grads["t"] == 0
    np.testing.assert_array_equal(q.vjp("power", [0.5, 1, 0, 0], 0.0)[1](np.ones(4))["a"], np.zeros(4))


def test_gradients_beyond_the_range():
    """d log is homogeneous of degree -1, also where the length or its reciprocal overflows."""
    g = np.array([1.0, 2, 3, 4])
    for size in (1e-305, 1e308):
        want = q.vjp("log", np.ones(4))[1](g)["a"]
        got = q.vjp("log", np.full(4, size))[1](g * 1e300 if size > 1 else g * 1e-300)["a"]
        np.testing.assert_allclose(got, want / size * (1e300 if size > 1 else 1e-300), rtol=1e-14)
    np.testing.assert_array_equal(q.vjp("normalize", [1e-310, 0, 0, 0])[1]([1.0, 1, 0, 0])["a"], [0, np.inf, 0, 0])


def test_refusals():
    _, pullback = q.vjp("multiply", np.ones((3, 4)), np.ones(4))
    with pytest.raises(ValueError, match=r"dout has shape \(4,\)"):
        pullback(np.ones(4))
