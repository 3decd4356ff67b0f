"""Trainable resonant attention: against loops, by complex steps, theorems, the order task, awkward input."""

import itertools

import numpy as np
import pytest

from primeattn.attention import MECHANISMS, Holds, Property, ResonantState, resonant, resonant_step, vjp
from tests.naive import resonant as naive

MECHANISM = MECHANISMS["resonant"]
FIELDS = ("q_phase", "k_phase", "q_orientation", "k_orientation")
EPS = {np.float64: np.finfo(np.float64).eps, np.float32: np.finfo(np.float32).eps}
CALLS = [
    {"form": form, "causal": causal, "rotors": rotors, "padded": padded}
    for form, causal, rotors, padded in itertools.product(
        ("linear", "softmax"), (False, True), (False, True), (None, "keys", "pairs")
    )
]
# sums of at most 33 weighted values, each weight from at most 12 primes: a few hundred roundings, with room
LOOSE = 2000


def draw(rng, *, lead=(), queries=5, keys=5, primes=7, depth=3, dtype=np.float64):
    """Full inputs by name."""

    def normal(tokens, *tail):
        return rng.standard_normal((*lead, tokens, *tail)).astype(dtype)

    return {
        "q": normal(queries, primes),
        "k": normal(keys, primes),
        "v": normal(keys, depth),
        "q_phase": normal(queries, primes),
        "k_phase": normal(keys, primes),
        "q_orientation": normal(queries, primes, 4),
        "k_orientation": normal(keys, primes, 4),
        "weights": rng.dirichlet(np.full(3, 3.0), size=lead).astype(dtype),
        "temperature": rng.uniform(0.2, 1, size=lead).astype(dtype),
    }


def draw_mask(rng, padded, lead, queries, keys):
    if padded is None:
        return None
    mask = rng.random((*lead, 1 if padded == "keys" else queries, keys)) < 0.7
    mask[..., :1] = True  # at least one key
    return mask


def by_loops(x, **options):
    """(out, weights) of the oracle."""
    return called(x, naive.reference, **options, return_weights=True)


def called(x, function=resonant, **options):
    named = {n: a for n, a in x.items() if n not in ("q", "k", "v")}
    return function(x["q"], x["k"], x["v"], **named, **options)


def differentiated(x, **options):
    return called(x, lambda *inputs, **o: vjp("resonant", *inputs, **o), **options)


@pytest.mark.parametrize("call", CALLS, ids=lambda c: "-".join(str(v) for v in c.values()))
def test_against_loops(rng, call):
    options = {**call, "active": 3}
    padded = options.pop("padded")
    for dtype, (queries, keys) in itertools.product((np.float64, np.float32), ((5, 5), (2, 6), (6, 2))):
        x = draw(rng, lead=(2,), queries=queries, keys=keys, dtype=dtype)
        mask = draw_mask(rng, padded, (2,), queries, keys)
        out, table = called(x, **options, mask=mask, return_weights=True)
        wanted, weights = by_loops(x, **options, mask=mask)
        assert out.dtype == dtype
        np.testing.assert_allclose(out, wanted.real, rtol=0, atol=LOOSE * EPS[dtype])
        np.testing.assert_allclose(table, weights.real, rtol=0, atol=LOOSE * EPS[dtype])


@pytest.mark.parametrize("form", ["linear", "softmax"])
@pytest.mark.parametrize(
    ("queries", "keys", "primes", "depth", "active"), [(1, 1, 1, 1, 1), (33, 33, 12, 9, 5), (2, 33, 5, 8, 9)]
)
def test_odd_sizes(rng, form, queries, keys, primes, depth, active):
    x = draw(rng, queries=queries, keys=keys, primes=primes, depth=depth)
    for causal in (False, True):
        out = called(x, form=form, causal=causal, active=active)
        wanted = by_loops(x, form=form, causal=causal, active=active)[0].real
        # rotors multiply 33 tokens of 5 quaternions: errors grow with their number
        np.testing.assert_allclose(out, wanted, rtol=0, atol=10 * LOOSE * EPS[np.float64])


def complex_step(x, name, direction, dout, **options):
    """Directional derivative of <dout, out>, exact to rounding."""
    moved = {**x, name: x[name] + 1e-30j * direction}
    return float((by_loops(moved, **options)[0].imag / 1e-30 * dout).sum())


@pytest.mark.parametrize("call", CALLS, ids=lambda c: "-".join(str(v) for v in c.values()))
def test_gradients(rng, call):
    options = {**call, "active": 3}
    padded = options.pop("padded")
    for queries, keys in ((4, 4), (2, 5), (4, 3)):
        x = draw(rng, lead=(2,), queries=queries, keys=keys)
        options["mask"] = draw_mask(rng, padded, (2,), queries, keys)
        out, pullback = differentiated(x, **options)
        dout = rng.standard_normal(out.shape)
        gradients = pullback(dout)
        assert set(gradients) == set(x)
        for name, gradient in gradients.items():
            direction = rng.standard_normal(x[name].shape)
            wanted = complex_step(x, name, direction, dout, **options)
            assert (gradient * direction).sum() == pytest.approx(wanted, rel=1e-11, abs=1e-12), name


def test_a_wrong_derivative_is_rejected(rng):
    """Without the torque of what a rotor turns, the gradient of orientations is wrong."""
    x = draw(rng, lead=(2,))
    out, pullback = differentiated(x, active=3)
    dout = rng.standard_normal(out.shape)
    gradients = pullback(dout)
    _, unturned = differentiated(x, active=3, rotors=False)
    direction = rng.standard_normal(x["k_orientation"].shape)
    wanted = complex_step(x, "k_orientation", direction, dout, active=3)
    assert abs((gradients["k_orientation"] * direction).sum() - wanted) < 1e-11 * abs(wanted)
    assert abs((unturned(dout)["k_orientation"] * direction).sum() - wanted) > 1e-3 * abs(wanted)
    direction = rng.standard_normal(x["q"].shape)
    wanted = complex_step(x, "q", direction, dout, active=3)
    assert abs((1.01 * gradients["q"] * direction).sum() - wanted) > 1e-3 * abs(wanted)


def test_broadcast_fields_give_summed_gradients(rng):
    x = draw(rng, lead=(2, 3))
    tables = {
        "q_phase": rng.standard_normal(7),
        "k_phase": rng.standard_normal((5, 1)),
        "q_orientation": rng.standard_normal((3, 1, 7, 4)),
        "k_orientation": rng.standard_normal((2, 1, 1, 1, 4)),
        "weights": np.array([0.2, 0.5, 0.3]),
        "temperature": np.array([0.5]),
    }
    dout = rng.standard_normal((2, 3, 5, 3))
    for form in ("linear", "softmax"):
        out, pullback = differentiated({**x, **tables}, form=form, active=4)
        full = {name: np.array(np.broadcast_to(t, x[name].shape)) for name, t in tables.items()}
        same, spread = differentiated({**x, **full}, form=form, active=4)
        np.testing.assert_array_equal(out, same)
        few, many = pullback(dout), spread(dout)
        for name, table in tables.items():
            axes = (1,) * (many[name].ndim - table.ndim) + table.shape
            axes = tuple(i for i, n in enumerate(axes) if n != many[name].shape[i])
            wanted = many[name].sum(axis=axes).reshape(table.shape)
            assert few[name].shape == table.shape
            np.testing.assert_allclose(few[name], wanted, rtol=1e-12, atol=1e-13)  # 30 to 210 terms of order 1


def test_only_kept_primes_have_gradients(rng):
    x = draw(rng)
    out, pullback = differentiated(x, active=2)
    gradients = pullback(rng.standard_normal(out.shape))
    for side in "qk":
        for t in range(5):
            lost = np.setdiff1d(np.arange(7), naive.kept_primes(x[side][t], 2))
            assert not gradients[side][t, lost].any()
            assert not gradients[f"{side}_phase"][t, lost].any()
            assert not gradients[f"{side}_orientation"][t, lost].any()
    assert gradients["q"].any()
    assert gradients["k_orientation"].any()


def test_ties_go_to_smaller_primes():
    q = np.zeros((1, 6))
    k = np.eye(6) * 9
    _, table = resonant(q, k, np.eye(6), active=2, weights=[1, 0, 0], rotors=False, return_weights=True)
    few = resonant(q, k, np.eye(6), active=1, weights=[1, 0, 0], return_weights=True)[1]
    assert few[0].tolist() == [1, 0, 0, 0, 0, 0]
    assert table[0, 0] == table[0, 1] > table[0, 2:].max()


@pytest.mark.parametrize(("primes", "active"), [(1, 1), (5, 3), (40, 8), (192, 8)])
def test_selection_with_many_ties(rng, primes, active):
    """Integers as logits, -inf among them: a value beside its token's number tells which tokens keep a prime."""
    logits = rng.integers(-3, 4, (60, primes)).astype(float)
    logits[logits == -3] = -np.inf
    query = np.full((primes, primes), -np.inf)
    np.fill_diagonal(query, 0)
    table = resonant(query, logits, np.eye(60), active=active, rotors=False, return_weights=True)[1]
    for p in range(primes):
        wanted = [t for t in range(60) if p in naive.kept_primes(logits[t], active)]
        assert np.flatnonzero(table[p]).tolist() == wanted


def test_rows_are_stochastic_and_the_kernel_is_psd(rng):
    """The Gram matrix of 40 states, by values that read it out: K = W diag(row sums) for one head."""
    x = draw(rng, queries=40, keys=40, primes=9)
    same = {**x, "q": x["k"], "q_phase": x["k_phase"], "q_orientation": x["k_orientation"]}
    for rotors in (False, True):
        table = called(same, active=3, rotors=rotors, return_weights=True)[1]
        np.testing.assert_allclose(table.sum(axis=1), 1, atol=40 * EPS[np.float64])
        assert table.min() >= 0
        kernel = table / np.diag(table)[:, None]  # K_ii = 1, so the diagonal is 1 / row sum
        np.testing.assert_allclose(kernel, kernel.T, atol=1e-12)  # division by the diagonal, about 1/10
        assert np.linalg.eigvalsh((kernel + kernel.T) / 2)[0] > -1e-12
        assert kernel.max() < 1 + 1e-12


def test_invariances(rng):
    """Signs of quaternions that turn nothing, a common phase, a common turn, a number added to a token's logits."""
    x = draw(rng, lead=(2,))
    for form in ("linear", "softmax"):
        options = {"form": form, "active": 4, "causal": True}
        out = called(x, **options)
        moved = {**x, "q_orientation": -x["q_orientation"] * 3, "k_orientation": x["k_orientation"] * 0.1}
        np.testing.assert_allclose(called(moved, **options), out, atol=1e-13)
        moved = {**x, "k_orientation": x["k_orientation"] * rng.choice([-1.0, 1.0], size=(2, 5, 7, 1))}
        np.testing.assert_allclose(called(moved, **options), out, atol=1e-13)
        moved = {**x, "q_phase": x["q_phase"] + 2, "k_phase": x["k_phase"] + 2}
        np.testing.assert_allclose(called(moved, **options), out, atol=1e-13)
        moved = {**x, "q": x["q"] + rng.standard_normal((2, 5, 1)), "k": x["k"] + 5}
        np.testing.assert_allclose(called(moved, **options), out, atol=1e-13)


def test_rotors_make_positions_relative(rng):
    """Tokens in front of everything that is attended change nothing: only R_i^-1 R_j enters a score."""
    x = draw(rng, queries=6, keys=6)
    mask = np.ones((6, 6), bool)
    mask[2:, :2] = False
    whole = called(x, active=3, causal=True, mask=mask)[2:]
    parts = {n: a[2:] if n[0] in "qkv" else a for n, a in x.items()}
    np.testing.assert_allclose(called(parts, active=3, causal=True), whole, atol=1e-13)


def order_task(rng, n, lengths, fillers):
    """Tokens of sequences with one A (0), one B (1), fillers and a final read-out token (2); label: A first."""
    sequences, labels = [], []
    for _ in range(n):
        tokens = rng.choice(fillers, size=rng.integers(*lengths))
        first, second = sorted(rng.choice(len(tokens), size=2, replace=False))
        label = rng.integers(2)
        tokens[first], tokens[second] = (0, 1) if label else (1, 0)
        sequences.append(np.append(tokens, 2))
        labels.append(2.0 * label - 1)
    return sequences, np.array(labels)


def order_accuracy(rng, *, rotors, turning_fillers=False, form="linear", temperature=0.05):
    """Held-out accuracy of kernel ridge (Gaussian, fixed) on the attention output of the last token."""
    vocabulary, primes = 43, 64
    logits = np.full((vocabulary, primes), -np.inf)
    logits[0, 0] = logits[1, 1] = 0
    logits[2, :2] = 0  # the read-out token shares a prime with each marker
    logits[np.arange(3, vocabulary), rng.integers(2, primes, vocabulary - 3)] = 0
    orientation = np.broadcast_to(np.eye(4)[0], (vocabulary, primes, 4)).copy()
    orientation[:2] = rng.standard_normal((2, 1, 4))
    if turning_fillers:
        orientation[3:] = rng.standard_normal((vocabulary - 3, 1, 4))
    value = rng.standard_normal((vocabulary, 8))

    def outputs(sequences):
        return np.array(
            [
                resonant(
                    logits[s[-1:]], logits[s[:-1]], value[s[:-1]], q_orientation=orientation[s[-1:]],
                    k_orientation=orientation[s[:-1]], active=2, weights=[0, 1, 0], rotors=rotors, form=form,
                    temperature=temperature,
                )[0]
                for s in sequences
            ]
        )  # fmt: skip

    train, labels = order_task(rng, 100, (4, 12), np.arange(3, 23))
    held_out, wanted = order_task(rng, 200, (12, 30), np.arange(23, vocabulary))
    x, y = outputs(train), outputs(held_out)
    gram = np.exp(-((x[:, None] - x) ** 2).sum(axis=-1))
    cross = np.exp(-((y[:, None] - x) ** 2).sum(axis=-1))
    predicted = cross @ np.linalg.solve(gram + 1e-3 * np.eye(len(x)), labels)
    return float(((predicted > 0) == (wanted > 0)).mean())


@pytest.mark.parametrize("form", ["linear", "softmax"])
def test_order_task(form):
    """Which marker came first, fillers and lengths held out: chance without rotors, 100% with them.

    Fillers must not turn: where each has a random rotor of its own, what lies between the markers is scrambled, and
    this read-out of one token is at chance again.
    """
    for seed in range(3):
        accuracy = [
            order_accuracy(np.random.default_rng(seed), form=form, rotors=rotors, turning_fillers=turning)
            for rotors, turning in ((True, False), (False, False), (True, True))
        ]
        assert accuracy[0] == 1.0
        # 200 coins: +-3.5 standard deviations
        assert max(abs(a - 0.5) for a in accuracy[1:]) < 0.125


def test_fast_forms_are_the_rows(rng, monkeypatch):
    """Blocks (a head a thread, and all threads on one head) and tiles against the specification, at larger sizes."""
    from primeattn.attention._resonant import tiles, walk

    for lead, queries, keys in (((4,), 70, 70), ((), 70, 70), ((4,), 20, 75), ((), 75, 20)):
        x = draw(rng, lead=lead, queries=queries, keys=keys, primes=20, depth=11)
        mask = rng.random((*lead, 1, keys)) < 0.8
        for form in ("linear", "softmax"):
            options = {"form": form, "causal": True, "mask": mask, "active": 6}
            out, pullback = differentiated(x, **options)
            dout = rng.standard_normal(out.shape)
            fast = pullback(dout)
            with monkeypatch.context() as patch:
                patch.setattr(walk, "fits", lambda *a: False)
                patch.setattr(tiles, "fits", lambda *a: False)
                wanted, pullback = differentiated(x, **options)
                plain = pullback(dout)
            # up to 75 tokens of 6 primes in every sum
            np.testing.assert_allclose(out, wanted, rtol=0, atol=1e-12)
            for name, gradient in plain.items():
                scale = max(abs(gradient).max(), 1)
                np.testing.assert_allclose(fast[name], gradient, rtol=0, atol=1e-11 * scale, err_msg=name)


def test_degenerate_rows(rng):
    """No key: zeros. No shared prime: zeros (linear), plain mean (softmax). The empty state. One token. No token."""
    x = draw(rng, queries=3, keys=3)
    mask = np.ones((3, 3), bool)
    mask[1] = False
    for form in ("linear", "softmax"):
        out, pullback = differentiated(x, form=form, mask=mask, active=3)
        assert not out[1].any()
        assert all(np.isfinite(g).all() for g in pullback(np.ones_like(out)).values())
    q, k, v = np.full((2, 4), -np.inf), np.full((3, 4), -np.inf), rng.standard_normal((3, 2))
    q[0, 0], k[:, 1] = 0, 0
    for causal in (False, True):
        assert not resonant(q, k, v, active=2, causal=causal).any()
    mean = resonant(q, k, v, active=2, form="softmax")
    np.testing.assert_allclose(mean, np.tile(v.mean(axis=0), (2, 1)), atol=1e-15)
    for form in ("linear", "softmax"):
        out, pullback = vjp("resonant", q, k, v, active=2, form=form)
        assert not pullback(np.ones_like(out))["q"].any()
    one = {name: a[:1] if name[0] in "qkv" else a for name, a in x.items()}
    np.testing.assert_allclose(called({**one, "k": one["q"]}, active=2), one["v"], atol=1e-15)
    for lead, queries, keys in (((0,), 3, 3), ((), 0, 3), ((), 3, 0), ((2, 0), 1, 1)):
        x = draw(rng, lead=lead, queries=queries, keys=keys)
        for form in ("linear", "softmax"):
            out, pullback = differentiated(x, form=form, active=3)
            assert out.shape == (*lead, queries, 3)
            assert not out.any()
            assert {n: g.shape for n, g in pullback(out).items()} == {n: a.shape for n, a in x.items()}


def test_nan_stays_with_the_rows_that_see_it(rng):
    x = draw(rng, queries=6, keys=6)
    x["v"][4] = np.nan
    x["v"][2, 1] = np.inf
    hidden = np.array([True, True, False, True, False, True])
    for form in ("linear", "softmax"):
        clean = {**x, "v": np.nan_to_num(x["v"], posinf=0)}
        out, wanted = (called(y, form=form, mask=hidden[None], active=3) for y in (x, clean))
        np.testing.assert_allclose(out, wanted, rtol=0, atol=1e-14)  # with NaN or inf the softmax form goes by rows
        assert np.isfinite(called(x, form=form, causal=True, active=3)[:2]).all()
    x = draw(rng, queries=6, keys=6)
    wanted = called(x, causal=True, active=3)[:3]
    x["k"][3, 0] = np.nan
    for form in ("linear", "softmax"):
        out = called(x, causal=True, active=3, form=form)
        assert np.isfinite(out[:3]).all()
        assert np.isnan(out[3:]).any()
    np.testing.assert_array_equal(called(x, causal=True, active=3)[:3], wanted)
    zero = draw(rng)
    zero["q_orientation"][0] = 0
    assert np.isnan(called(zero, active=3)[0]).all()


def test_inputs_of_other_kinds(rng):
    """Lists of integers, big-endian, read-only, strided and float16 input; float32 only if all are."""
    x = draw(rng, dtype=np.float32)
    assert called(x, active=3).dtype == np.float32
    assert called({**x, "k_phase": x["k_phase"].astype(float)}, active=3).dtype == np.float64
    wanted = called(x, active=3)
    for change in (
        lambda a: a.astype(a.dtype.newbyteorder(">")),
        lambda a: np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a,
        lambda a: np.asfortranarray(a) if a.ndim else a,
    ):
        np.testing.assert_array_equal(called({n: change(a) for n, a in x.items()}, active=3), wanted)
    for a in x.values():
        a.flags.writeable = False
    np.testing.assert_array_equal(called(x, active=3), wanted)
    assert resonant([[1, 0]], [[1, 0]], [[3]], active=1).tolist() == [[3.0]]
    assert (
        called({n: a.astype(np.float16) for n, a in x.items() if n not in ("weights",)}, active=3).dtype == np.float32
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"form": "quadratic"}, ValueError, "'linear' or 'softmax'"),
        ({"active": 0}, ValueError, "1 or more"),
        ({"active": 2.5}, ValueError, "1 or more"),
        ({"k": np.zeros((5, 6))}, ValueError, "head widths"),
        ({"v": np.zeros((4, 3))}, ValueError, "every key needs its value"),
        ({"q_phase": np.zeros((5, 6))}, ValueError, "q_phase has shape"),
        ({"k_orientation": np.zeros((5, 7, 3))}, ValueError, "k_orientation has shape"),
        ({"k_orientation": np.zeros((5, 7))}, ValueError, "k_orientation has shape"),
        ({"weights": [0.5, 0.5]}, ValueError, "weights"),
        ({"weights": [0.9, 0.3, -0.2]}, ValueError, "PSD"),
        ({"weights": [0.9, 0.3, 0.2]}, ValueError, "sum to 1"),
        ({"weights": np.full((2, 3), 1 / 3)}, ValueError, "broadcast"),
        ({"temperature": 0.0}, ValueError, "> 0"),
        ({"temperature": np.ones(2)}, ValueError, "broadcast"),
        ({"mask": np.ones((5, 5))}, TypeError, "booleans"),
        ({"mask": np.ones((4, 5), bool)}, ValueError, "mask has shape"),
        ({"q": np.zeros((5, 7), complex)}, TypeError, "real numbers"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_errors(rng, change, error, message):
    with pytest.raises(error, match=message):
        called({**draw(rng), **change})


def test_labels(rng):
    xr = pytest.importorskip("xarray")
    x = draw(rng, lead=(2,))
    dims = ("head", "token")
    labelled = {n: xr.DataArray(x[n], dims=(*dims, "column" if n == "v" else "prime")) for n in "qkv"}
    out, table = called({**x, **labelled}, active=3, return_weights=True)
    assert out.dims == ("head", "token", "column")
    assert table.dims == ("head", "token", "key_token")
    np.testing.assert_array_equal(out.values, called(x, active=3))


def test_every_claim_is_measured():
    """Claims with a measure of their own: theorems on samples of both forms, and witnesses of what fails."""
    assert set(MECHANISM.properties) == set(Property)
    for name, claim in MECHANISM.properties.items():
        if isinstance(claim, Holds) and claim.measure:
            for seed, form in itertools.product(range(3), ("linear", "softmax")):
                sample = MECHANISM.sample(np.random.default_rng(seed))
                sample.options["form"] = form
                assert claim.measure(MECHANISM, sample) < 1e-12, name  # K from W: a few roundings over diag W, 1/10
        elif not isinstance(claim, Holds):
            assert claim.measure(MECHANISM, claim.witness()) >= claim.by, name


@pytest.mark.parametrize("rotors", [False, True])
def test_steps_equal_the_whole_sequence(rng, rotors):
    x = draw(rng, lead=(2,), queries=9, keys=9)
    x.pop("temperature")
    options = {"active": 3, "rotors": rotors}
    wanted = called(x, causal=True, **options)
    state = ResonantState()
    for start, stop in ((0, 1), (1, 2), (2, 2), (2, 6), (6, 9)):
        part = {n: a if n == "weights" else a[:, start:stop] for n, a in x.items()}
        out = called(part, lambda *qkv, **o: resonant_step(*qkv, state, **o), **options)
        np.testing.assert_allclose(out, wanted[:, start:stop], rtol=0, atol=1e-13)  # 9 tokens of 3 primes
    assert state.position == 9
    before = state._sums.copy()
    with pytest.raises(ValueError, match="only the number of tokens"):
        resonant_step(np.zeros((2, 1, 6)), np.zeros((2, 1, 6)), np.zeros((2, 1, 3)), state)
    with pytest.raises(ValueError, match="a query for every key"):
        resonant_step(np.zeros((2, 1, 7)), np.zeros((2, 2, 7)), np.zeros((2, 2, 3)), state)
    np.testing.assert_array_equal(state._sums, before)
    assert state.position == 9


@pytest.mark.cudasim
@pytest.mark.parametrize("form", ["linear", "softmax"])
def test_cuda_twins(form):
    import primeattn as pa

    rng = np.random.default_rng(3)
    x = draw(rng, lead=(2,), queries=3, keys=4, primes=5, depth=2)
    mask = np.ones((2, 1, 4), bool)
    mask[0, 0, 1] = False
    options = {"form": form, "active": 3, "causal": True}
    dout = rng.standard_normal((2, 3, 2))
    out, pullback = differentiated(x, **options, mask=mask)
    gradients = pullback(dout)
    device = {n: a if n in ("weights", "temperature") else pa.to_device(a) for n, a in x.items()}
    on_device, pull_device = differentiated(device, **options, mask=pa.to_device(mask))
    np.testing.assert_allclose(pa.to_host(on_device), out, rtol=0, atol=1e-12)
    for name, gradient in pull_device(pa.to_device(dout)).items():
        np.testing.assert_allclose(pa.to_host(gradient), gradients[name], rtol=0, atol=1e-11, err_msg=name)


@pytest.mark.cudasim
def test_cuda_steps():
    import primeattn as pa

    rng, state, on_device = np.random.default_rng(3), ResonantState(), ResonantState()
    for _ in range(2):
        x = draw(rng, queries=2, keys=2, primes=4, depth=2)
        x.pop("temperature")
        device = {n: a if n == "weights" else pa.to_device(a) for n, a in x.items()}
        out, there = (
            called(y, lambda *qkv, s=s, **o: resonant_step(*qkv, s, **o), active=2)
            for y, s in ((x, state), (device, on_device))
        )
        np.testing.assert_allclose(pa.to_host(there), out, rtol=0, atol=1e-13)
