"""Position-only attention: groups and their checks, tables against convolutions, shifts, refusals."""

import numpy as np
import pytest

import primeattn as pa
from tests.naive.position_only import reference

attention = pa.attention
Symmetry = attention.Symmetry

#: The symmetric group of three things: no product of cyclic groups.
S3 = np.array(
    [
        [0, 1, 2, 3, 4, 5],
        [1, 2, 0, 4, 5, 3],
        [2, 0, 1, 5, 3, 4],
        [3, 5, 4, 0, 2, 1],
        [4, 3, 5, 1, 0, 2],
        [5, 4, 3, 2, 1, 0],
    ]
)


def everything(v, **options):
    out, pullback = attention.vjp("position_only", v, **options)
    return {"out": out, **pullback(np.cos(np.arange(out.size)).reshape(out.shape).astype(out.dtype))}


def draw(rng, symmetry, tokens, batch=(2,), heads=3, depth=2):
    shape = (heads, tokens) if symmetry is not None else (heads, tokens, tokens)
    return rng.standard_normal((*batch, heads, tokens, depth)), rng.standard_normal(shape)


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize(
    ("symmetry", "tokens"),
    [(None, 6), (6, 6), ((2, 3), 6), ((2, 2, 3), 12), ("shift", 6), (7, 7), ("shift", 1), (1, 1)],
)
def test_forms_equal_the_oracle_and_the_complex_step(symmetry, tokens, softmax, rng):
    v, alpha = draw(rng, symmetry, tokens)
    options = {"symmetry": symmetry, "softmax": softmax, "causal": symmetry == "shift"}
    expected, table = reference(v, alpha=alpha, return_weights=True, **options)
    dout = np.cos(np.arange(expected.size)).reshape(expected.shape)
    for form in ("table", "convolution") if symmetry is not None else ("table",):
        got = everything(v, alpha=alpha, form=form, **options)
        np.testing.assert_allclose(got["out"], expected, rtol=0, atol=1e-13)  # a dozen terms of size 1
        weights = attention.position_only(v, alpha=alpha, form=form, return_weights=True, **options)[1]
        np.testing.assert_allclose(weights, table, rtol=0, atol=1e-14)
        for name, x in (("v", v), ("alpha", alpha)):
            direction = rng.standard_normal(x.shape)
            step = {"v": v, "alpha": alpha} | {name: x + 1e-30j * direction}
            slope = (reference(**step, **options) * dout).sum().imag / 1e-30
            assert abs(slope - (got[name] * direction).sum()) / (1 + abs(slope)) < 1e-11
            if tokens > 1:
                assert abs(slope - (got[name] * (1 + 1e-6) * direction).sum()) / (1 + abs(slope)) > 1e-9


def test_any_group_from_its_table(rng):
    group = Symmetry.from_table(S3)
    v, alpha = draw(rng, group, 6)
    got = everything(v, alpha=alpha, symmetry=group)
    inverse = [int(np.flatnonzero(S3[i] == 0)[0]) for i in range(6)]
    free = np.array([[[alpha[h, S3[i, inverse[j]]] for j in range(6)] for i in range(6)] for h in range(3)])
    expected = everything(v, alpha=free)
    np.testing.assert_allclose(got["out"], expected["out"], rtol=0, atol=1e-13)
    shared = np.zeros_like(alpha)
    for h, i, j in np.ndindex(3, 6, 6):
        shared[h, S3[i, inverse[j]]] += expected["alpha"][h, i, j]
    np.testing.assert_allclose(got["alpha"], shared, rtol=0, atol=1e-12)
    moved = attention.position_only(v[..., S3[:, 4], :], alpha=alpha, symmetry=group)  # i -> i h for all i
    np.testing.assert_allclose(moved, got["out"][..., S3[:, 4], :], rtol=0, atol=1e-13)
    with pytest.raises(ValueError, match="'convolution'"):
        attention.position_only(v, alpha=alpha, symmetry=group, form="convolution")


def test_cyclic_tables_are_groups_and_commute():
    for axes in ((1,), (5,), (2, 3), (2, 2, 2)):
        group = Symmetry.cyclic(*axes)
        assert len(Symmetry.from_table(group.table)) == np.prod(axes)
        np.testing.assert_array_equal(group.table, group.table.T)
        np.testing.assert_array_equal(group.quotient[group.table, np.arange(len(group))], np.arange(len(group))[:, None]
                                      + np.zeros(len(group), int))  # fmt: skip


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ([[0, 1], [1, 1]], "row 1"),
        ([[0, 1, 2], [1, 2, 0], [0, 1, 2]], "column 0"),
        ([[1, 0], [0, 1]], "identity"),
        ([[0, 1, 2, 3, 4], [1, 0, 3, 4, 2], [2, 4, 0, 1, 3], [3, 2, 4, 0, 1], [4, 3, 1, 2, 0]], "associative"),
        ([[0.0]], "integers"),
        ([[0, 1]], "square"),
    ],
)
def test_what_is_no_group_is_refused(table, match):
    with pytest.raises(ValueError, match=match):
        Symmetry.from_table(table)


def lattice(*shape):
    bonds = np.zeros((*shape, *shape))
    for site in np.ndindex(*shape):
        for axis, n in enumerate(shape):
            ahead = tuple((x + (a == axis)) % n for a, x in enumerate(site))
            bonds[site + ahead] = bonds[ahead + site] = 1
    return bonds.reshape(int(np.prod(shape)), -1)


def test_four_patches_in_a_circle_are_no_symmetry_of_the_lattice():
    bonds, patches = lattice(4, 4), attention.square_patches((4, 4), 2)
    Symmetry.cyclic(2, 2).check(bonds, patches)
    with pytest.raises(ValueError, match="no symmetry"):
        Symmetry.cyclic(4).check(bonds, patches)
    Symmetry.cyclic(4, 4).check(bonds)
    Symmetry.cyclic(12).check(lattice(12))
    with pytest.raises(ValueError, match="no symmetry"):
        Symmetry.cyclic(16).check(bonds)  # a line wound around the lattice
    Symmetry.cyclic(3).check(lattice(12), np.arange(12).reshape(3, 4))
    with pytest.raises(ValueError, match="each site once"):
        Symmetry.cyclic(4).check(bonds, np.zeros((4, 4), int))
    with pytest.raises(ValueError, match="tile"):
        attention.square_patches((4, 6), 4)


def test_shifts_serve_every_length_and_the_table_is_exactly_causal(rng):
    v, alpha = rng.standard_normal((9, 2)), rng.standard_normal(20)
    out = attention.position_only(v, alpha=alpha, symmetry="shift", causal=True)
    grads = everything(v, alpha=alpha, symmetry="shift", causal=True)
    assert grads["alpha"].shape == (20,)
    assert (grads["alpha"][9:] == 0).all()
    changed = v.copy()
    changed[5:] = 1e9
    after = attention.position_only(changed, alpha=alpha, symmetry="shift", causal=True)
    np.testing.assert_array_equal(out[:5], after[:5])
    np.testing.assert_array_equal(out[:6], attention.position_only(v[:6], alpha=alpha, symmetry="shift", causal=True))


def test_long_convolutions_are_taken_and_agree(rng, monkeypatch):
    products, taken = attention._position_only.run.products, []
    real = products.Convolution
    monkeypatch.setattr(products, "Convolution", lambda call: taken.append(call.shape.keys) or real(call))
    v, alpha = rng.standard_normal((1024, 2)).astype(np.float32), rng.standard_normal((32, 32)) / 32
    got = everything(v, alpha=alpha.reshape(-1).astype(np.float32), symmetry=(32, 32))
    table = everything(v.astype(float), alpha=alpha.reshape(-1), symmetry=(32, 32), form="table")
    assert taken == [1024]
    for name, x in table.items():  # sums of 1,024 terms of 2^-24 of their sizes
        np.testing.assert_allclose(got[name], x, rtol=0, atol=1e-5 * abs(x).max())
        assert got[name].dtype == np.float32


def test_a_convolution_that_fails_is_taken_by_the_table(rng):
    v, alpha = rng.standard_normal((6, 2)), rng.standard_normal(6)
    v[4, 0] = np.inf
    options = {"symmetry": "shift", "causal": True}
    got = attention.position_only(v, alpha=alpha, form="convolution", **options)
    np.testing.assert_array_equal(got[:4], attention.position_only(v[:4], alpha=alpha[:4], **options))
    assert np.isfinite(got[:, 1]).all()
    alpha[5] = 1e4  # e^-10000 of the others: their sums vanish beside it
    v[4, 0] = 0
    got = everything(v, alpha=alpha, softmax=True, form="convolution", **options)
    np.testing.assert_allclose(got["out"], reference(v, alpha=alpha, softmax=True, **options), rtol=0, atol=1e-13)


@pytest.mark.parametrize("softmax", [False, True])
def test_awkward_values(softmax, rng):
    v, alpha = rng.standard_normal((2, 5, 3)), rng.standard_normal((5, 5))
    v[0, 3] = np.nan
    alpha[0, 3] = -np.inf if softmax else 0
    mask = np.ones((5, 5), bool)
    mask[1, 3], mask[2] = False, False
    got = everything(v, alpha=alpha, mask=mask, softmax=softmax)
    assert np.isfinite(got["out"][0, :3]).all()
    assert np.isnan(got["out"][0, 3:]).all()
    assert (got["out"][:, 2] == 0).all()
    assert np.isfinite(got["v"]).all()
    assert (got["alpha"][2] == 0).all()
    big = attention.position_only(rng.standard_normal((5, 3)), alpha=1e300 * alpha.clip(-1, 1), softmax=True)
    assert np.isfinite(big).all()


def test_other_numbers_of_queries_and_shared_tables(rng):
    v, alpha = rng.standard_normal((2, 3, 5, 2)), rng.standard_normal((2, 1, 4, 5))
    for causal in (False, True):
        np.testing.assert_allclose(
            attention.position_only(v, alpha=alpha, causal=causal), reference(v, alpha=alpha, causal=causal), atol=1e-14
        )
    got = everything(v, alpha=alpha)
    assert got["alpha"].shape == alpha.shape
    assert attention.position_only(v[:, :, :0], alpha=alpha[..., :0]).tolist() == np.zeros((2, 3, 4, 2)).tolist()


def test_lipschitz_with_the_norm_of_alpha(rng):
    alpha, (x, y) = rng.standard_normal((6, 6)), rng.standard_normal((2, 6, 4))
    change = attention.position_only(x, alpha=alpha) - attention.position_only(y, alpha=alpha)
    assert np.linalg.norm(change) <= np.linalg.norm(alpha, 2) * np.linalg.norm(x - y)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"alpha": np.ones((5, 4))}, ValueError, r"\(..., queries, 5\)"),
        ({"alpha": np.ones((3, 5, 5))}, ValueError, "broadcast"),
        ({"alpha": np.ones(4), "symmetry": 5}, ValueError, r"\(..., 5\) is wanted"),
        ({"alpha": np.ones(5), "symmetry": (2, 3)}, ValueError, "6 elements"),
        ({"alpha": np.ones(5), "symmetry": "shift"}, ValueError, "causal=True"),
        ({"alpha": np.ones(5), "symmetry": "turn"}, TypeError, "lengths of axes"),
        ({"alpha": np.ones(5), "symmetry": (0, 5)}, ValueError, "at least 1"),
        ({"alpha": np.ones((5, 5)), "form": "fft"}, ValueError, "'table'"),
        ({"alpha": np.ones((5, 5)), "form": "convolution"}, ValueError, "form='auto'"),
        ({"alpha": np.ones((5, 5)), "mask": np.ones((5, 5))}, TypeError, "boolean"),
    ],
)
def test_what_does_not_fit_is_refused(options, error, match, rng):
    with pytest.raises(error, match=match):
        attention.position_only(rng.standard_normal((2, 5, 3)), **options)


def test_labels_come_back(rng):
    xr = pytest.importorskip("xarray")
    v = xr.DataArray(rng.standard_normal((2, 4, 3)), dims=("head", "site", "width"), coords={"site": list("abcd")})
    out, weights = attention.position_only(v, alpha=np.ones(4), symmetry=4, return_weights=True)
    assert out.dims == v.dims
    assert weights.dims == ("head", "site", "key_site")
    assert "".join(out.site.values) == "abcd"


@pytest.mark.cudasim
@pytest.mark.parametrize("symmetry", [3, "shift"])
@pytest.mark.parametrize("softmax", [False, True])
def test_cuda_twins_of_symmetric_weights(symmetry, softmax, rng):
    v, alpha = rng.standard_normal((1, 2, 3, 2)), rng.standard_normal((2, 3))
    options = {"symmetry": symmetry, "softmax": softmax, "causal": symmetry == "shift"}
    out, pullback = attention.vjp("position_only", pa.to_device(v), alpha=pa.to_device(alpha), **options)
    np.testing.assert_allclose(pa.to_host(out), reference(v, alpha=alpha, **options), rtol=0, atol=1e-13)
    expected = attention.vjp("position_only", v, alpha=alpha, **options)[1](np.ones(v.shape))
    for name, gradient in pullback(pa.to_device(np.ones(v.shape))).items():
        np.testing.assert_allclose(pa.to_host(gradient), expected[name], rtol=0, atol=1e-12)


def test_a_symmetry_holds_numbers_of_its_elements_only_and_cannot_be_changed():
    for table in (np.full((3, 3), 99), np.zeros((2, 3), int), np.eye(2), [[0, -1], [1, 0]]):
        with pytest.raises(ValueError, match="table is"):
            pa.attention.Symmetry(table)
    with pytest.raises(ValueError, match="axes are"):
        pa.attention.Symmetry(np.zeros((1, 1), int), (5,))
    with pytest.raises(ValueError, match="read-only"):
        pa.attention.Symmetry.cyclic(3).table[0, 0] = 99


def test_no_queries_give_gradients_of_zero():
    out, pullback = pa.attention.vjp("position_only", np.ones((2, 3, 1)), alpha=np.zeros((2, 0, 3)))
    grads = pullback(out)
    assert out.shape == (2, 0, 1)
    assert grads["alpha"].shape == (2, 0, 3)
    np.testing.assert_array_equal(grads["v"], np.zeros((2, 3, 1)))


def test_a_causal_group_is_causal_at_any_length():
    rng = np.random.default_rng(0)
    v, alpha = rng.standard_normal((130, 2)), rng.standard_normal(130)
    out = pa.attention.position_only(v, alpha=alpha, symmetry=130, causal=True)
    expected = pa.attention.MECHANISMS["position_only"].reference(v, alpha=alpha, symmetry=130, causal=True)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-11)
    with pytest.raises(ValueError, match="not causal"):
        pa.attention.position_only(v, alpha=alpha, symmetry=130, causal=True, form="convolution")
