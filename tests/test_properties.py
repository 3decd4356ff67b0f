"""What every mechanism claims of itself: theorems on drawn samples, witnesses for what fails."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primeattn.attention import MECHANISMS, DoesNotApply, Fails, Holds, Property, Sample, violation

CLAIMS = [(name, which) for name, m in MECHANISMS.items() for which in m.properties]

# Sums of up to 9 weights of at most 1, or eigenvalues of such a table, in float64: 1e3 eps covers both with room.
ROUNDING = 1e3 * np.finfo(float).eps


@pytest.mark.parametrize("name", MECHANISMS)
def test_every_property_has_a_claim(name):
    claims = MECHANISMS[name].properties
    assert set(claims) == set(Property)
    assert all(claim.why for claim in claims.values())


# of these two no mechanism's failure is known: below and with the mechanism itself their measures meet wrong tables
FAILS_NOWHERE = {Property.SYMMETRIC, Property.PHASE_SHIFT_INVARIANT}


@pytest.mark.parametrize("which", [p for p in Property if p not in FAILS_NOWHERE], ids=lambda which: which.name)
def test_some_mechanism_fails(which):
    """Or the theorems below could not tell."""
    assert any(isinstance(m.properties[which], Fails) for m in MECHANISMS.values())


@pytest.mark.parametrize(("name", "which"), [c for c in CLAIMS if isinstance(MECHANISMS[c[0]].properties[c[1]], Holds)])
def test_what_holds_is_a_theorem(name, which):
    mechanism = MECHANISMS[name]

    @settings(max_examples=15, deadline=None, derandomize=True)
    @given(seed=st.integers(0, 2**32 - 1), tokens=st.integers(1, 9), width=st.sampled_from((2, 4, 6)))
    def theorem(seed, tokens, width):
        drawn = mechanism.sample(np.random.default_rng(seed), batch=(), heads=2, tokens=tokens, width=width)
        assert violation(which, mechanism, drawn) <= ROUNDING

    theorem()


@pytest.mark.parametrize(("name", "which"), [c for c in CLAIMS if isinstance(MECHANISMS[c[0]].properties[c[1]], Fails)])
def test_what_fails_has_a_witness(name, which):
    claim = MECHANISMS[name].properties[which]
    assert claim.by > 100 * ROUNDING
    assert violation(which, MECHANISMS[name], claim.witness()) >= claim.by


def test_a_property_that_does_not_apply_gives_its_reason():
    reasons = [c.why for m in MECHANISMS.values() for c in m.properties.values() if isinstance(c, DoesNotApply)]
    assert all(len(why) > 10 for why in reasons)


def with_weights(table):
    """A mechanism that has these weights whatever comes in, and a sample of it."""

    def forward(q, k, v, return_weights=False):
        return (table @ v, table) if return_weights else table @ v

    x = np.eye(len(table))
    any_claims = dict.fromkeys(Property, Holds("for the test"))
    return next(iter(MECHANISMS.values()))._replace(forward=forward, properties=any_claims), Sample((x, x, x), {})


@pytest.mark.parametrize(
    ("which", "table"),
    [
        (Property.ROW_STOCHASTIC, [[0.5, 0.4], [0.5, 0.5]]),
        (Property.ROW_STOCHASTIC, [[1.5, -0.5], [0.5, 0.5]]),
        (Property.BOUNDED, [[1.5, -0.5], [0.5, 0.5]]),
        (Property.SYMMETRIC, [[0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1]]),  # a cycle that runs one way
        (Property.PSD, [[0.1, 0.9], [0.9, 0.1]]),
    ],
)
def test_the_measures_see_what_is_wrong(which, table):
    assert violation(which, *with_weights(np.array(table))) >= 0.09
    assert violation(which, *with_weights(np.eye(len(table)))) == 0


def test_a_claim_may_bring_its_own_measure():
    mechanism, sample = with_weights(np.eye(2))
    own = {**mechanism.properties, Property.PSD: Holds("for the test", measure=lambda mechanism, sample: 7.0)}
    assert violation(Property.PSD, mechanism._replace(properties=own), sample) == 7
    none = {**mechanism.properties, Property.PSD: DoesNotApply("for the test")}
    with pytest.raises(ValueError, match="does not apply"):
        violation(Property.PSD, mechanism._replace(properties=none), sample)
