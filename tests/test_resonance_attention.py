"""Attention over states: golden values of the original, the oracle, gradients, streams, degenerate rows, refusals."""

import json
from pathlib import Path

import numpy as np
import pytest

import primeattn as pa
from primeattn.resonance import _attention, _softmax
from primeattn.resonance._prepare import prepare

from .naive import resonance as naive_scores
from .naive import resonance_attention as naive
from .test_resonance import EPS, VARIANTS, dicts, states

GOLDEN = json.loads((Path(__file__).parent / "golden" / "resonance_attention.json").read_text())
LINEAR = {name: VARIANTS[name] for name in ("sqrt", "amplitude")}
WEIGHTS = [(0.5, 0.3, 0.2), (0.2, 0.3, 0.5)]
STEP = 1e-200  # of the complex step: no subtraction, so no rounding
SUMS = 64 * EPS  # about 30 terms of size 1 in another order, divided by a sum of them


def batch(lists):
    """States from golden rows."""
    rows = np.array([row for x in lists for row in x], dtype=float).reshape(-1, 7)
    amplitude = rows[:, 1:3].copy().view(complex)[:, 0]
    return pa.PrimeStates(
        np.cumsum([0, *map(len, lists)]), rows[:, 0].astype(int), amplitude, rows[:, 3:].reshape(-1, 4)
    )


def assert_state(found, rows):
    (found,) = found.to_dicts()
    assert sorted(found) == sorted(int(row[0]) for row in rows)
    for p, re, im, *q in rows:
        assert found[p][0] == pytest.approx(complex(re, im), abs=1e-12)
        np.testing.assert_allclose(found[p][1], q, rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", GOLDEN["attention"], ids=lambda case: case["name"])
def test_states_as_the_published_attention(case):
    found = pa.resonance.attend_states(
        batch([case["query"]]),
        batch(case["keys"]),
        batch(case["values"]),
        kind="original",
        merge="original",
        temperature=case["temperature"],
    )
    if case["result"] is None:  # no keys: the original returns nothing, we the empty state
        assert len(found.states) == 1
        assert found.states.nnz == 0
        return
    np.testing.assert_allclose(found.scores[0, 0], case["result"]["scores"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.weights[0, 0], case["result"]["weights"], rtol=0, atol=1e-12)
    assert_state(found.states, case["result"]["result"])


@pytest.mark.parametrize("case", GOLDEN["multihead"], ids=lambda case: str(case["num_heads"]))
def test_states_as_the_published_heads(case):
    heads = case["num_heads"]
    for weights in (case["head_weights"], None if heads > 1 else case["head_weights"]):
        found = pa.resonance.attend_states(
            batch([case["query"]]),
            batch(case["keys"]),
            batch(case["values"]),
            kind="original",
            merge="original",
            temperature=case["temperature"],
            heads=heads,
            weights=weights,
        )
        np.testing.assert_allclose(found.weights[:, 0], case["attention_weights"], rtol=0, atol=1e-12)
        assert_state(found.states, case["result"])


def test_markley_merge_is_free_of_order_and_signs(rng):
    query, key, values = states(rng, 5), states(rng, 8), states(rng, 8)
    found = pa.resonance.attend_states(query, key, values, heads=2, temperature=0.3)
    order = rng.permutation(8)
    signs = rng.choice([-1.0, 1.0], values.nnz)[:, None]
    flipped = pa.PrimeStates(values.indptr, values.primes, values.amplitude, signs * values.orientation)
    again = pa.resonance.attend_states(
        query, pa.PrimeStates.concatenate([key[int(j)] for j in order]),
        pa.PrimeStates.concatenate([flipped[int(j)] for j in order]), heads=2, temperature=0.3,
    )  # fmt: skip
    np.testing.assert_array_equal(found.states.primes, again.states.primes)
    np.testing.assert_allclose(found.states.amplitude, again.states.amplitude, rtol=0, atol=SUMS)
    # an eigenvector: rounding over the gap of the eigenvalues, here not below 1e-3
    np.testing.assert_allclose(found.states.orientation, again.states.orientation, rtol=0, atol=1e-11)


def test_merged_states_are_means_of_the_allowed_values(rng):
    query, key, values = states(rng, 6), states(rng, 6), states(rng, 6)
    mask = rng.random((6, 6)) < 0.5
    mask[2] = False
    found = pa.resonance.attend_states(query, key, values, causal=True, mask=mask, weights=(0.2, 0.3, 0.5))
    allowed = naive.allowed_pairs(6, 6, True, mask)
    expected = np.exp(found.scores[0]) * allowed
    total = expected.sum(axis=1, keepdims=True)
    expected = np.divide(expected, total, out=np.zeros_like(expected), where=total > 0)
    np.testing.assert_allclose(found.weights[0], expected, rtol=0, atol=SUMS)
    assert (found.states.n_active[2], found.weights[0, 2].sum()) == (0, 0)
    merged, parts = found.states.to_dicts(), values.to_dicts()
    for i in range(6):
        primes = sorted({p for j in range(6) if allowed[i, j] for p in parts[j]})
        assert sorted(merged[i]) == primes
        sums = np.array([sum(expected[i, j] * parts[j][p][0] for j in range(6) if p in parts[j]) for p in primes])
        np.testing.assert_allclose(
            [merged[i][p][0] for p in primes], sums / max(np.linalg.norm(sums), 1e-300), rtol=0, atol=SUMS
        )
        for p in primes:
            table = sum(
                expected[i, j] * np.outer(parts[j][p][1], parts[j][p][1])
                for j in range(6)
                if allowed[i, j] and p in parts[j]
            )
            q = np.array(merged[i][p][1])
            assert q @ table @ q == pytest.approx(np.linalg.eigvalsh(table)[-1], abs=SUMS)


# Forward against the oracle


def cases():
    """(options) of attention: masks by shape only, so that ids stay readable."""
    return [
        {},
        {"causal": True},
        {"temperature": 0.011},
        {"temperature": 1e5, "causal": True},
        {"mask": "keys"},
        {"mask": "keys", "causal": True},
        {"mask": "pairs"},
        {"mask": "pairs", "causal": True},
        {"order": "rotor", "causal": True},
        {"order": "rotor", "mask": "keys"},
    ]


def with_mask(rng, options, n, m):
    shape = {"keys": (m,), "pairs": (n, m)}.get(options.get("mask"))
    return options if shape is None else options | {"mask": rng.random(shape) < 0.6}


@pytest.mark.parametrize("options", cases(), ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_softmax_equals_the_oracle(rng, variant, options):
    a, b, v = states(rng, 5), states(rng, 8), rng.standard_normal((8, 6))
    options = with_mask(rng, options, 5, 8)
    found = pa.resonance.attention(a, b, v, heads=2, **options, **VARIANTS[variant])
    expected = naive.attention(dicts(a), dicts(b), v, naive.head_weights(2), **options, **VARIANTS[variant])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)  # scores over temperature: eps / 0.011


@pytest.mark.parametrize(
    "options", [c for c in cases() if "temperature" not in c and c.get("mask") != "pairs"], ids=str
)
@pytest.mark.parametrize("variant", LINEAR)
@pytest.mark.parametrize("itself", [True, False])
def test_linear_equals_the_oracle(rng, variant, options, itself):
    b, v = states(rng, 8), rng.standard_normal((8, 6))
    a = b if itself else states(rng, 5)
    options = with_mask(rng, options, len(a), 8)
    found = pa.resonance.attention(a, b, v, form="linear", heads=3, **options, **LINEAR[variant])
    expected = naive.attention(
        dicts(a), dicts(b), v, naive.head_weights(3), form="linear", **options, **LINEAR[variant]
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)  # a denominator may be as small as 1e-3


@pytest.mark.parametrize(
    ("n", "m", "primes"), [(33, 33, 5), (2500, 2500, 40), (700, 2600, 30), (2600, 700, 30), (1, 50, 7)]
)
@pytest.mark.parametrize("causal", [True, False])
def test_linear_equals_scores_times_values_over_many_blocks(rng, n, m, primes, causal):
    """Sizes that make several blocks, incomplete groups, and vectors that the columns do not fill."""
    b = pa.PrimeStates.random(m, rng.integers(0, 4, m), n_primes=primes, rng=rng)
    a = b if n == m else pa.PrimeStates.random(n, rng.integers(0, 4, n), n_primes=primes + 3, rng=rng)
    v = rng.standard_normal((m, 21))
    scores = pa.resonance.matrix(a, b, normalizer="sqrt") * naive.allowed_pairs(n, m, causal)
    total = scores.sum(axis=1, keepdims=True)
    expected = np.divide(scores @ v, total, out=np.zeros((n, 21)), where=total > 0)
    found = pa.resonance.attention(a, b, v, form="linear", causal=causal)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)  # sums of up to 2600 terms


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("causal", [True, False])
def test_gathered_rows_and_multiplied_tables_agree(rng, monkeypatch, variant, causal):
    """The path of few overlaps and that of many: the same numbers, also for the statistics that gradients use."""
    a = pa.PrimeStates.random(150, rng.integers(0, 5, 150), n_primes=20, rng=rng)
    v = rng.standard_normal((150, 7))
    found = []
    for bound in (0, 2):
        monkeypatch.setattr(_attention, "SPARSE", bound)
        found.append(pa.resonance.attention(a, a, v, causal=causal, temperature=0.2, **VARIANTS[variant]))
    np.testing.assert_allclose(*found, rtol=0, atol=SUMS)
    scores = pa.resonance.matrix(a, **VARIANTS[variant])
    e = np.exp(scores / 0.2) * naive.allowed_pairs(150, 150, causal)
    np.testing.assert_allclose(found[0], e @ v / e.sum(axis=1, keepdims=True), rtol=0, atol=SUMS)


def test_plain_rows_are_the_specification(rng):
    """The rows that run on CUDA, here on the CPU, against the fast paths, forwards and backwards."""
    for linear, (normalizer, overlap) in (
        (False, ("union", "jaccard")),
        (False, ("union", "ruzicka")),
        (True, ("sqrt", "jaccard")),
    ):
        a, b, v = states(rng, 30), states(rng, 40), rng.standard_normal((40, 6))
        call = prepare(
            a, b, v, form="linear" if linear else "softmax", weights=WEIGHTS, temperature=0.5, heads=2, causal=True,
            mask=None, order=None, kind="kernel", normalizer=normalizer, overlap=overlap, amplitude=False,
        )  # fmt: skip
        fast, (x, y) = _attention.run(call), call.profiles
        dout = rng.standard_normal(fast.out.shape)
        if linear:
            plain = _attention.linear_plainly(call, x, y)
            slow = _attention.pull_linear_plainly(call, plain, dout)
            quick = _attention.pull_linear(call, fast, dout)
        else:
            given = (x, y, call.form[:2], call.weights, 0.5, call.limit, np.ones(1, np.uint8), (0, 0), v.reshape(-1))
            out, stats = _softmax.attend(*given)
            plain = _attention.Result(out.reshape(30, 6), stats)
            np.testing.assert_allclose(stats, fast.saved, rtol=1e-13)
            slow = _softmax.pull(*given, stats, out, dout.reshape(-1))
            quick = _attention.pull_by_overlaps(
                x, y, call.form[:2], call.weights, 0.5, call.limit, None, v, fast.saved, fast.out, dout
            )
        np.testing.assert_allclose(plain.out, fast.out, rtol=0, atol=1e-13)
        for g, h in zip(slow, quick, strict=True):
            np.testing.assert_allclose(np.ravel(g), np.ravel(h), rtol=0, atol=1e-12)


# Gradients


def numbers(s):
    return [np.stack([s.amplitude.real, s.amplitude.imag], axis=1).astype(complex), s.orientation.astype(complex)]


def complex_step(run, arrays, dout):
    """d sum(dout * run()) by every number of ``arrays``, one at a time."""
    found = []
    for x in arrays:
        g = np.zeros(x.shape)
        for at in np.ndindex(x.shape):
            kept = x[at]
            x[at] = kept + 1j * STEP
            g[at] = (dout * np.imag(run())).sum() / STEP
            x[at] = kept
        found.append(g)
    return found


def compare(rng, a, b, v, options):
    """``(found, expected)``: lists of gradients by query, key, value, weights and temperature."""
    temperature = options.pop("temperature", 0.7)
    out, pullback = pa.resonance.vjp("attention", a, b, v, weights=WEIGHTS, temperature=temperature, **options)
    query, key = numbers(a), numbers(b)
    values, weights, tau = v.astype(complex), np.array(WEIGHTS, complex), np.array(temperature, complex)

    def run():
        sides = (naive_scores.states_of(s.indptr, s.primes, *x) for s, x in ((a, query), (b, key)))
        return naive.attention(*sides, values, weights, temperature=tau[()], **options)

    np.testing.assert_allclose(out, run().real, rtol=0, atol=1e-12)
    dout = rng.standard_normal(out.shape)
    g = pullback(dout)
    found = []
    for side in ("query", "key"):
        found += [np.stack([g[side]["amplitude"].real, g[side]["amplitude"].imag], axis=1), g[side]["orientation"]]
    found += [g["value"], g["weights"], g["temperature"]]
    return found, complex_step(run, [*query, *key, values, weights, tau], dout)


def assert_gradients(found, expected):
    largest = max(1, *(abs(g).max(initial=0) for g in expected))  # phases have gradients of 1 / |a|
    for g, h in zip(found, expected, strict=True):
        np.testing.assert_allclose(g, h, rtol=0, atol=1e-11 * largest)


GRADIENTS = [
    {},
    {"causal": True},
    {"causal": True, "mask": "keys"},
    {"mask": "pairs"},
    {"causal": True, "order": "rotor"},
    {"mask": "keys", "order": "rotor"},
]


GRADIENT_CASES = [(variant, "softmax", options) for variant in VARIANTS for options in GRADIENTS] + [
    (variant, "linear", options) for variant in LINEAR for options in GRADIENTS if options.get("mask") != "pairs"
]


@pytest.mark.parametrize(("variant", "form", "options"), GRADIENT_CASES, ids=str)
def test_gradients_equal_the_complex_step(rng, variant, form, options):
    a, b, v = states(rng, 3, 4, 5), states(rng, 4, 4, 5), rng.standard_normal((4, 4))
    options = with_mask(rng, options, 3, 4) | VARIANTS[variant] | {"form": form}
    found, expected = compare(rng, a, b, v, options)
    assert_gradients(found, expected)
    assert abs(expected[4]).max() > 1e-3  # not trivially zero


def test_gradients_of_one_batch_on_both_sides(rng):
    s, v = states(rng, 4, 4, 5), rng.standard_normal((4, 4))
    for form, variant in (("softmax", {}), ("linear", {"amplitude": True})):
        found, expected = compare(rng, s, s, v, {"causal": True, "order": "rotor", "form": form} | variant)
        assert_gradients(found, expected)


@pytest.mark.parametrize("broken", ["temperature", "half", "radial", "scaled"])
def test_wrong_derivatives_are_refused(rng, broken):
    a, b, v = states(rng, 3, 4, 5), states(rng, 4, 4, 5), rng.standard_normal((4, 4))
    found, expected = compare(rng, a, b, v, {"amplitude": True, "causal": True, "order": "rotor"})
    assert_gradients(found, expected)
    if broken == "temperature":
        found[6] = -found[6]
    elif broken == "half":
        found[3] = found[3] / 2
    elif broken == "radial":
        found[1] = found[1] + 0.1 * a.orientation
    else:
        found[4] = found[4] * (1 + 1e-6)
    with pytest.raises(AssertionError):
        assert_gradients(found, expected)


@pytest.mark.parametrize("form", ["softmax", "linear"])
def test_gradients_over_many_blocks_by_central_differences(rng, form):
    """Along one random direction. The last rotor sums 7,500 turns of size h, so the error is (90 h)^2 + eps / h."""
    n = 2500
    s = pa.PrimeStates.random(n, 3, n_primes=40, rng=rng)
    v, dout = rng.standard_normal((n, 3)), rng.standard_normal((n, 3)) / n
    options = {"form": form, "amplitude": True, "causal": True, "order": "rotor"}
    _, pullback = pa.resonance.vjp("attention", s, s, v, **options)
    g = pullback(dout)
    by_amplitude, by_turn = (g["query"][name] + g["key"][name] for name in ("amplitude", "orientation"))
    da = rng.standard_normal((s.nnz, 2)) @ [1, 1j]
    dq, dv = rng.standard_normal((s.nnz, 4)), rng.standard_normal(v.shape)
    h, moved = 1e-6, []
    for sign in (1, -1):
        t = pa.PrimeStates(s.indptr, s.primes, s.amplitude + sign * h * da, s.orientation + sign * h * dq)
        moved.append((dout * pa.resonance.attention(t, t, v + sign * h * dv, **options)).sum())
    expected = (by_amplitude.conj() * da).real.sum() + (by_turn * dq).sum() + (g["value"] * dv).sum()
    assert (moved[0] - moved[1]) / (2 * h) == pytest.approx(expected, abs=1e-8)
    assert abs(expected) > 1e-4


# Streams


@pytest.mark.parametrize("options", [{}, {"heads": 2}, {"order": "rotor"}, {"amplitude": True, "heads": 3}], ids=str)
def test_a_stream_equals_the_whole_sequence(rng, tmp_path, options):
    s, v = states(rng, 40, n_primes=12), rng.standard_normal((40, 6))
    expected = pa.resonance.attention(s, s, v, form="linear", causal=True, **options)
    stream, found = pa.resonance.Stream(6, **options), []
    for i in range(20):
        found.append(stream.step(s[i : i + 1], v[i : i + 1]))
    stream.save(tmp_path / "stream.npz")
    stream = pa.resonance.Stream.load(tmp_path / "stream.npz")
    assert len(stream) == 20
    twin = stream.copy()
    twin.step(s[:7], v[:7])
    found.append(stream.step(s[20:20], v[20:20]))
    found.append(stream.step(s[20:], v[20:]))
    if options.get("order") == "rotor":  # the rotors' product, rounded elsewhere
        np.testing.assert_allclose(np.concatenate(found), expected, rtol=0, atol=1e-13)
    else:
        np.testing.assert_array_equal(np.concatenate(found), expected)


def test_a_stream_with_other_queries_and_refusals(rng, tmp_path):
    q, k, v = states(rng, 9), states(rng, 9, n_primes=5), rng.standard_normal((9, 2))
    stream = pa.resonance.Stream(2, dtype="float64")
    found = np.concatenate([stream.step(k[i : i + 1], v[i : i + 1], query=q[i : i + 1]) for i in range(9)])
    np.testing.assert_array_equal(found, pa.resonance.attention(q, k, v, form="linear", causal=True))
    held = stream.nbytes
    stream.step(k, v)
    assert stream.nbytes == held  # memory follows the primes, not the tokens
    with pytest.raises(ValueError, match="this stream has width 2"):
        stream.step(k, np.ones((9, 3)))
    with pytest.raises(ValueError, match="one query for each key"):
        stream.step(k, v, query=q[:3])
    with pytest.raises(ValueError, match="width is 0"):
        pa.resonance.Stream(0)
    with pytest.raises(TypeError, match="dtype is int64"):
        pa.resonance.Stream(2, dtype=int)
    (tmp_path / "broken.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"Stream\.save"):
        pa.resonance.Stream.load(tmp_path / "broken.npz")
    assert "tokens=18" in repr(stream)


# Degenerate rows, precisions, threads


def test_degenerate_rows(rng):
    one = pa.PrimeStates.from_dicts([{2: 1}, {}, {3: 1}])
    key = pa.PrimeStates.from_dicts([{2: 1}, {5: 1}])
    v = np.array([[1.0, 2.0], [3.0, 6.0]])
    np.testing.assert_array_equal(pa.resonance.attention(one, key, v)[1:], [[2, 4], [2, 4]])  # no overlap: the mean
    linear = pa.resonance.attention(one, key, v, form="linear")
    np.testing.assert_array_equal(linear[1:], [[0, 0], [0, 0]])
    np.testing.assert_allclose(linear[0], [1, 2], rtol=4 * EPS)
    for form in ("softmax", "linear"):
        nothing = pa.resonance.attention(one, key, v, form=form, mask=np.zeros(2, bool))
        np.testing.assert_array_equal(nothing, np.zeros((3, 2)))
        none = pa.resonance.attention(one, key[:0], v[:0], form=form)
        np.testing.assert_array_equal(none, np.zeros((3, 2)))
        assert pa.resonance.attention(one[:0], key, v, form=form).shape == (0, 2)
        # three queries, two keys, causal: the first query comes before every key
        np.testing.assert_array_equal(pa.resonance.attention(one, key, v, form=form, causal=True)[0], [0, 0])
        out, pullback = pa.resonance.vjp("attention", one, key, v, form=form, mask=np.zeros(2, bool))
        g = pullback(np.ones_like(out))
        assert not g["value"].any()
        assert not g["key"]["amplitude"].any()
        out, pullback = pa.resonance.vjp("attention", one, key, v, form=form)
        g = pullback(np.ones_like(out))
        assert all(np.isfinite(x).all() for side in ("query", "key") for x in g[side].values())
    np.testing.assert_array_equal(pa.resonance.attention(one, key, v, mask=np.zeros((3, 2), bool)), np.zeros((3, 2)))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_orthogonal_orientations_without_overlap_weight_give_zeros(rng, dtype):
    """alpha = 0, (q.q') = 0: the kernel vanishes on the shared prime, and its rounding must not be divided."""
    q = pa.quaternion.random(50, rng=rng)
    right = pa.quaternion.multiply(q, [0, 1, 0, 0])  # orthogonal to q
    for i in range(50):
        a, b = (pa.PrimeStates([0, 1], [2], [1], x[i : i + 1]).astype(dtype) for x in (q, right))
        out = pa.resonance.attention(a, b, np.ones((1, 2), dtype), form="linear", weights=(0, 1, 0))
        np.testing.assert_array_equal(out, [[0, 0]])


def test_extreme_temperatures_in_float32(rng):
    s, v = states(rng, 50, n_primes=20, dtype="float32"), rng.standard_normal((50, 4)).astype("float32")
    scores = pa.resonance.matrix(s.astype("float64"))
    cold = pa.resonance.attention(s, s, v, temperature=0.011)
    e = np.exp((scores - scores.max(axis=1, keepdims=True)) / 0.011)
    # scores carry 2e-7, over .011: 2e-5 in the exponent
    np.testing.assert_allclose(cold, e @ v / e.sum(axis=1, keepdims=True), rtol=0, atol=1e-4)
    s = s.astype("float64")
    hot = pa.resonance.attention(s, s, v.astype("float64"), temperature=1e6)
    u = np.expm1(scores / 1e6)
    mean = v.mean(axis=0, dtype=float)
    exact = (u @ (v - mean)) / (50 + u.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(hot - mean, exact, rtol=0, atol=2e-15)  # a difference of 1e-7, to the eps of the mean


@pytest.mark.parametrize("form", ["softmax", "linear"])
def test_float32_and_other_input(rng, form):
    s, v = states(rng, 40, n_primes=20, dtype="float32"), rng.standard_normal((40, 6)).astype("float32")
    wide = pa.resonance.attention(s.astype("float64"), s.astype("float64"), v.astype(float), form=form, causal=True)
    found = pa.resonance.attention(s, s, v, form=form, causal=True)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wide, rtol=0, atol=1e-5)  # 40 terms, a few eps of float32 each
    out, pullback = pa.resonance.vjp("attention", s, s, v, form=form, causal=True)
    g = pullback(np.ones_like(out))
    assert (g["value"].dtype, g["query"]["amplitude"].dtype) == (np.float32, np.complex64)
    mixed = pa.resonance.attention(s, s, v.astype(float), form=form, causal=True)
    assert mixed.dtype == np.float64
    np.testing.assert_allclose(mixed, wide, rtol=0, atol=1e-6)  # quaternions of float32 are unit to 1e-7
    others = (np.asfortranarray(v.astype(float)), v.astype(">f8"), np.repeat(v, 2, axis=0)[::2].astype(float))
    for other in others:
        np.testing.assert_array_equal(pa.resonance.attention(s, s, other, form=form, causal=True), mixed)
    whole = np.arange(80).reshape(40, 2)
    np.testing.assert_array_equal(
        pa.resonance.attention(s, s, whole, form=form), pa.resonance.attention(s, s, whole.astype(float), form=form)
    )
    v[0, 0] = np.nan
    assert np.isnan(pa.resonance.attention(s, s, v, form=form, mask=np.arange(40) == 0)).any()
    assert np.isfinite(pa.resonance.attention(s, s, v, form=form, mask=np.arange(40) > 0)).all()  # left out entirely


@pytest.mark.parametrize("form", ["linear", "softmax"])
def test_nan_in_the_first_value_stays_with_the_primes_that_meet_it(form):
    """The first number of an array once stood for "a zero of this type"."""
    s = pa.PrimeStates.from_dicts([{2: 1}, {3: 1}, {3: 1j}])
    v = np.array([[np.nan, 1.0], [2.0, 3.0], [5.0, 4.0]])
    out, pullback = pa.resonance.vjp("attention", s[1:], s, v, form=form, mask=np.array([False, True, True]))
    assert np.isfinite(out).all()
    if form == "linear":  # causal: whoever comes later has weights of 0 for what it shares no prime with, and no walk
        out, pullback = pa.resonance.vjp("attention", s, s, v, form=form, causal=True)
        assert np.isfinite(out[1:]).all()
        assert np.isfinite(pullback(np.ones_like(v))["query"]["orientation"][1:]).all()


def test_threads_do_not_change_a_bit(rng):
    import numba

    s, v = states(rng, 300, n_primes=90), rng.standard_normal((300, 64))
    before, found = numba.get_num_threads(), []
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            for form in ("softmax", "linear"):
                out, pullback = pa.resonance.vjp("attention", s, s, v, form=form, causal=True, heads=2)
                g = pullback(np.ones_like(out))
                found.append([out, g["value"], g["key"]["amplitude"], g["query"]["orientation"], g["weights"]])
    finally:
        numba.set_num_threads(before)
    for one, two in zip(found[:2], found[2:], strict=True):
        for x, y in zip(one, two, strict=True):
            np.testing.assert_array_equal(x, y)


def test_heads_share_the_columns(rng):
    s, v = states(rng, 12), rng.standard_normal((12, 6))
    for form in ("softmax", "linear"):
        together = pa.resonance.attention(s, s, v, form=form, heads=3)
        apart = [
            pa.resonance.attention(s, s, v[:, 2 * h : 2 * h + 2], form=form, weights=w)
            for h, w in enumerate(naive.head_weights(3))
        ]
        np.testing.assert_allclose(together, np.concatenate(apart, axis=1), rtol=0, atol=SUMS)
        same = pa.resonance.attention(s, s, v, form=form, heads=3, weights=(0.2, 0.3, 0.5))
        np.testing.assert_allclose(same, pa.resonance.attention(s, s, v, form=form, weights=(0.2, 0.3, 0.5)), atol=SUMS)


def test_permuting_keys_changes_nothing_without_rotors(rng):
    q, k, v = states(rng, 6), states(rng, 9), rng.standard_normal((9, 2))
    order = rng.permutation(9)
    moved = pa.PrimeStates.concatenate([k[int(j)] for j in order])
    for form in ("softmax", "linear"):
        plain = pa.resonance.attention(q, k, v, form=form)
        np.testing.assert_allclose(pa.resonance.attention(q, moved, v[order], form=form), plain, rtol=0, atol=SUMS)
        turned = pa.resonance.attention(q, k, v, form=form, order="rotor")
        assert abs(pa.resonance.attention(q, moved, v[order], form=form, order="rotor") - turned).max() > 1e-3


def test_rotors_equal_cumcompose(rng):
    s, v = states(rng, 12), rng.standard_normal((12, 2))
    composed = s.cumcompose(mode="rotor")
    for form in ("softmax", "linear"):
        found = pa.resonance.attention(s, s, v, form=form, causal=True, order="rotor")
        expected = pa.resonance.attention(composed, composed, v, form=form, causal=True)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
        last = pa.resonance.attention(s[-1:], s, v, form=form, causal=True, order="rotor")  # one step of decoding
        np.testing.assert_allclose(last, found[-1:], rtol=0, atol=1e-13)


def test_labelled_input(rng):
    xarray = pytest.importorskip("xarray")
    s = pa.PrimeStates.from_dicts([{2: 1}, {2: 1, 3: 1}], labels=["x", "y"])
    v = xarray.DataArray(rng.standard_normal((2, 2)), dims=("token", "feature"), coords={"feature": ["f", "g"]})
    found = pa.resonance.attention(s.to_xarray(), s.to_xarray(), v)
    assert found.dims == ("state", "feature")
    assert found.coords["state"].values.tolist() == ["x", "y"]
    assert found.coords["feature"].values.tolist() == ["f", "g"]
    np.testing.assert_array_equal(found, pa.resonance.attention(s, s, v.values))
    assert pa.resonance.attention(s, s, v).dims == ("state", "feature")


def test_refusals(rng):
    s, v = states(rng, 4), rng.standard_normal((4, 4))

    def call(**options):
        return pa.resonance.attention(s, s, options.pop("value", v), **options)

    for options, message in (
        ({"form": "quadratic"}, "form is 'quadratic'"),
        ({"form": "linear", "normalizer": "union"}, "finite feature map"),
        ({"form": "linear", "kind": "original"}, "finite feature map"),
        ({"form": "linear", "overlap": "ruzicka"}, "finite feature map"),
        ({"form": "linear", "mask": np.ones((4, 4), bool)}, "key padding only"),
        ({"mask": np.ones(3, bool)}, "mask has shape"),
        ({"mask": np.ones((3, 4), bool)}, "mask has shape"),
        ({"temperature": 0}, "temperature is 0"),
        ({"temperature": np.inf}, "temperature is inf"),
        ({"heads": 0}, "heads is 0"),
        ({"heads": 3}, "4 columns, which 3 heads"),
        ({"heads": 4, "weights": WEIGHTS}, "heads is 4 but weights has shape"),
        ({"weights": (1, 1, 0)}, "weights sum to 2"),
        ({"value": v[:3]}, "value has shape"),
        ({"value": v[0]}, "value has shape"),
        ({"order": "own"}, "order is 'own'"),
    ):
        with pytest.raises(ValueError, match=message):
            call(**options)
    with pytest.raises(TypeError, match="mask has dtype int64"):
        call(mask=np.ones(4, int))
    with pytest.raises(TypeError, match="causal is 1"):
        call(causal=1)
    with pytest.raises(ValueError, match="needs a key for every query"):
        pa.resonance.attention(s, s[:2], v[:2], order="rotor")
    with pytest.raises(ValueError, match="merge is 'mean'"):
        pa.resonance.attend_states(s, s, s, merge="mean")
    with pytest.raises(ValueError, match="one value for each key"):
        pa.resonance.attend_states(s, s, s[:2])
    with pytest.raises(ValueError, match=r"vjp\('attention', query, key, value\)"):
        pa.resonance.vjp("attention", s, s)
    with pytest.raises(TypeError, match="belongs to 'attention'"):
        pa.resonance.vjp("matrix", s, causal=True)
    _, pullback = pa.resonance.vjp("attention", s, s, v)
    with pytest.raises(ValueError, match=r"dout is float64 \(4,\)"):
        pullback(np.ones(4))
