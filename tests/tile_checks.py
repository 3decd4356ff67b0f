"""What the tests of both tiled cores share: arguments, outcomes, the specification by rows."""

import numpy as np

from primeattn import attention
from primeattn.attention._cores import run


def draw(rng, queries, keys, width=5, depth=3, heads=2, key_heads=2, dtype=float):
    shapes = (2, heads, queries, width), (2, key_heads, keys, width), (2, key_heads, keys, depth)
    return tuple(rng.standard_normal(s).astype(dtype) for s in shapes)


def everything(name, q, k, v, **options):
    """Output and gradients of a mechanism for a fixed upstream gradient."""
    out, pullback = attention.vjp(name, q, k, v, **options)
    return {"out": out, **pullback(np.cos(np.arange(out.size)).reshape(out.shape).astype(out.dtype))}


def specification(name, monkeypatch):
    """`everything` of a mechanism, by rows."""

    def specified(*arguments, **options):
        with monkeypatch.context() as patch:
            patch.setattr(run, "_by_rows", lambda x: True)
            return everything(name, *arguments, **options)

    return specified


def assert_close(got, expected, dtype=float):
    # sums of up to about 100 numbers of size 1 to 10
    for name, x in expected.items():
        np.testing.assert_allclose(got[name], x, rtol=0, atol=2e3 * np.finfo(dtype).eps, err_msg=name)
