"""Every mechanism with the causal band: exactly nothing of the future, in outputs, weights and gradients."""

import numpy as np
import pytest

import primeattn as pa
from primeattn.attention import MECHANISMS

TOKENS, FIRST = 70, 41  # more than a tile of queries; the first token that is changed
FORMS = [(name, {}) for name in MECHANISMS]
FORMS += [("squared", {"form": "linear"})]


def changed(x, tokens, by):
    """A copy in which these tokens are others."""
    x = x.copy()
    x[..., tokens, :] = by(x[..., tokens, :])
    return x


@pytest.mark.parametrize(("name", "form"), FORMS, ids=str)
def test_the_future_has_no_influence_on_a_bit(name, form):
    inputs, options = MECHANISMS[name].sample(np.random.default_rng(0), tokens=TOKENS, batch=(1,))
    options = {**options, "causal": True, **form}
    out, weights = MECHANISMS[name].forward(*inputs, **options, return_weights=True)
    later = [changed(x, slice(FIRST, None), lambda x: 1 - 3 * x) for x in inputs]
    moved, moved_weights = MECHANISMS[name].forward(*later, **options, return_weights=True)
    np.testing.assert_array_equal(moved[..., :FIRST, :], out[..., :FIRST, :])
    np.testing.assert_array_equal(moved_weights[..., :FIRST, :], weights[..., :FIRST, :])
    assert abs(moved - out)[..., FIRST:, :].max() > 1e-3
    assert (np.triu(weights, 1) == 0).all()
    dout = changed(np.random.default_rng(1).standard_normal(out.shape), slice(FIRST, None), np.zeros_like)
    grads = pa.attention.vjp(name, *inputs, **options)[1](dout)
    for argument in MECHANISMS[name].inputs:
        assert (grads[argument][..., FIRST:, :] == 0).all(), argument
        assert abs(grads[argument][..., :FIRST, :]).max() > 0
