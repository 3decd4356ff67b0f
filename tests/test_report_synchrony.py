"""Passages as oscillators: what the section says against theory, and against matrices whose answer is known."""

import math

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
from primeattn import report
from primeattn.report.sections import synchrony

from .test_report import found_passages, mine


def test_even_scores_follow_the_theory():
    n = 120
    documents = np.repeat(np.arange(6), 20)
    found = synchrony.synchrony(np.ones((n, n)), documents)
    from primeattn.dynamics import theory

    expected = theory.stationary_order_parameter("gaussian", synchrony.COUPLINGS)
    ordered = synchrony.COUPLINGS >= 2
    np.testing.assert_allclose(found.mean[ordered], expected[ordered], rtol=0, atol=3 / math.sqrt(n))
    assert found.critical == pytest.approx(theory.critical_coupling("gaussian"), rel=1e-12)  # its eigenvalue is 1
    assert found.mean[0] < 2 / math.sqrt(n)
    at = found.halfway()
    assert abs(found.within[at] - found.shuffled[at]) < 0.1  # documents mean nothing here
    assert synchrony.COUPLINGS[at - 1] < found.half <= synchrony.COUPLINGS[at]


def test_documents_that_share_nothing_order_on_their_own():
    documents = np.repeat(np.arange(6), 20)
    found = synchrony.synchrony(np.equal.outer(documents, documents) * 0.3, documents)
    last = len(synchrony.COUPLINGS) - 1
    assert found.halfway() == last  # six groups with a phase each
    assert math.isnan(found.half)
    assert found.within[last] > 0.9
    assert found.shuffled[last] < 0.6


def test_a_network_hears_one_in_the_mean():
    scores = np.random.default_rng(0).random((7, 7))
    weights = synchrony.network(scores)
    assert weights.sum(axis=1).mean() == pytest.approx(1)
    assert not weights.diagonal().any()
    assert weights[0, 1] / weights[2, 3] == pytest.approx(scores[0, 1] / scores[2, 3])
    assert synchrony.network(np.eye(3)) is None
    assert synchrony.synchrony(np.eye(3), np.zeros(3, int)) is None


def test_the_section_of_a_view_of_ones_own():
    material = report.prepare(found_passages(4), views={**report.VIEWS, "mine": mine()}, lead="mine", mechanisms={})
    finding = synchrony.find(material)
    assert [row["name"] for row in finding.facts["views"]] == list(material.views)
    assert finding.shown["lead"] == "mine"
    assert finding.facts["documents"] == 3
    assert finding.arrays["synchrony"][1].shape == (len(material.views), len(synchrony.COUPLINGS), synchrony.RUNS)
    again = synchrony.find(material)
    np.testing.assert_array_equal(again.arrays["synchrony"][1], finding.arrays["synchrony"][1])


def test_one_document_has_no_order_of_its_own():
    material = report.prepare(found_passages(1)[:2], mechanisms={})
    finding = synchrony.find(material)
    assert finding.facts["documents"] == 0
    assert not finding.shown["judged"]


def test_few_passages_have_no_half_order():
    few = synchrony.find(report.prepare(found_passages(1), mechanisms={})).facts
    assert few["few"]
    assert few["chance"] == pytest.approx(1 / math.sqrt(few["passages"]))
    assert all(math.isnan(row["half"]) for row in few["views"])
