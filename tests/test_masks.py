"""Window and top-k as masks on any score."""

import inspect

import numpy as np
import pytest

import primeattn as pa
from primeattn.attention import MECHANISMS
from tests.test_mechanisms import oracle

T, KEEP = 7, 2


def sample_of(name, seed=0):
    return MECHANISMS[name].sample(np.random.default_rng(seed), tokens=T, dtype=np.float64)


def by_sorting(weights, keep):
    """The heaviest keys of one row, the earlier of equals, by insertion."""
    best = []
    for j, w in enumerate(weights):
        if w != 0:
            best.append(j)
            best.sort(key=lambda i: (-abs(weights[i]), i))
    return sorted(best[:keep])


@pytest.mark.parametrize("name", MECHANISMS)
def test_top_k_of_every_mechanism(name):
    inputs, options = sample_of(name)
    forward = MECHANISMS[name].forward
    _, before = forward(*inputs, **options, return_weights=True)
    mask = pa.attention.top_k_mask(name, *inputs, keep=KEEP, **options)
    assert mask.shape == before.shape
    for row, kept in zip(before.reshape(-1, before.shape[-1]), mask.reshape(-1, before.shape[-1]), strict=True):
        assert np.flatnonzero(kept).tolist() == by_sorting(row, KEEP)
    expected = oracle(name)(*inputs, **{**options, "mask": mask})
    assert abs(forward(*inputs, **{**options, "mask": mask}) - expected).max() < 1e-10


@pytest.mark.parametrize("name", MECHANISMS)
def test_window_as_a_mask(name):
    inputs, options = sample_of(name)
    forward = MECHANISMS[name].forward
    mask = pa.attention.window_mask(T, T, 3)
    assert mask.tolist() == [[abs(i - j) < 3 for j in range(T)] for i in range(T)]
    out = forward(*inputs, **options, mask=mask)
    assert abs(out - oracle(name)(*inputs, **options, mask=mask)).max() < 1e-10
    if "window" in inspect.signature(forward).parameters:
        assert abs(out - forward(*inputs, **options, window=3)).max() < 1e-12


def test_a_causal_mask_comes_first():
    x = np.random.default_rng(0).standard_normal((3, T, 4))
    mask = pa.attention.top_k_mask("dot_product", x, x, x, keep=3, causal=True)
    assert not np.triu(mask, 1).any()
    assert mask.sum(axis=-1).tolist() == [[min(i + 1, 3) for i in range(T)]] * 3


def test_all_keys_are_kept_when_there_are_few():
    x = np.random.default_rng(0).standard_normal((T, 4))
    mask = pa.attention.top_k_mask("dot_product", x, x, x, keep=100)
    assert mask.all()


def test_equal_weights_keep_the_earlier_keys():
    x = np.zeros((4, 2))
    assert pa.attention.top_k_mask("dot_product", x, x, x, keep=2).astype(int).tolist() == [[1, 1, 0, 0]] * 4


def test_gradients_are_those_of_the_kept_keys():
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, T, 4))
    mask = pa.attention.top_k_mask("dot_product", q, k, v, keep=1)
    out, pullback = pa.attention.vjp("dot_product", q, k, v, mask=mask)
    grads = pullback(np.ones_like(out))
    chosen = np.bincount(mask.argmax(axis=-1), minlength=T)
    np.testing.assert_allclose(grads["v"], np.broadcast_to(chosen[:, None], v.shape), atol=1e-15)
    assert abs(grads["q"]).max() < 1e-14  # one key has weight 1, whatever the score


def test_nan_is_not_lost():
    q, k, v = np.random.default_rng(0).standard_normal((3, T, 4))
    q[2] = np.nan
    mask = pa.attention.top_k_mask("dot_product", q, k, v, keep=1)
    assert mask[2].all()
    assert np.isnan(pa.attention.dot_product(q, k, v, mask=mask)[2]).all()


def test_no_tokens():
    x = np.zeros((2, 0, 4))
    assert pa.attention.top_k_mask("dot_product", x, x, x, keep=1).shape == (2, 0, 0)
    assert pa.attention.window_mask(0, 3, 1).shape == (0, 3)


@pytest.mark.parametrize("keep", [0, -1, True, 1.5, "2"])
def test_keep_is_a_count(keep):
    x = np.ones((2, 2))
    with pytest.raises(ValueError, match=r"keep is .*1 or more"):
        pa.attention.top_k_mask("dot_product", x, x, x, keep=keep)


def test_names_and_windows_are_checked():
    with pytest.raises(ValueError, match="one of 'dot_product'"):
        pa.attention.top_k_mask("softmax", keep=1)
    with pytest.raises(ValueError, match="window is 0"):
        pa.attention.window_mask(3, 3, 0)


@pytest.mark.parametrize("tokens", [(-1, 3), (3, -1), (True, 3), ("3", 3), (3, 2.0)])
def test_window_mask_wants_numbers_of_tokens(tokens):
    with pytest.raises(ValueError, match=r"(queries|keys) is .*: a number of tokens, 0 or more, is wanted"):
        pa.attention.window_mask(*tokens, 1)


def test_top_k_mask_gives_no_weights():
    x = np.ones((1, 2, 2))
    with pytest.raises(TypeError, match="takes no return_weights"):
        pa.attention.top_k_mask("dot_product", x, x, x, keep=1, return_weights=True)
