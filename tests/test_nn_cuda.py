"""A step of training on CUDA, in the simulator: loss, gradient and parameters are those of the CPU."""

import numpy as np
import pytest

import primeattn as pa
from primeattn import nn
from primeattn.attention import MECHANISMS

pytestmark = pytest.mark.cudasim
SIZES = {"layers": 2, "width": 4, "heads": 2, "context": 3, "vocabulary": 5, "hidden": 3, "dtype": "float64"}


def batch_of(vocabulary=5):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, vocabulary, (2, 4))
    return ids[:, :-1], ids[:, 1:], rng.uniform(0.5, 1.5, (2, 3))


def pair_of(name, **options):
    """The same model on the host and on CUDA."""
    models = [nn.LanguageModel(name, **SIZES, **options) for _ in range(2)]
    moved = np.random.default_rng(1).standard_normal(models[0].parameters.values.size)
    for model in models:
        model.parameters.values += 0.2 * moved
    return models[0], models[1].to_device()


@pytest.mark.parametrize("name", [n for n, m in MECHANISMS.items() if m.trainable is not None])
def test_loss_and_gradient(name):
    options = {"stop_gradient": False} if name == "elliptical" else {}
    host, device = pair_of(name, **options)
    (loss, gradient), (loss_there, gradient_there) = (m.loss_and_gradient(*batch_of()) for m in (host, device))
    assert loss == pytest.approx(loss_there, rel=1e-12)
    # other orders of summation
    assert np.allclose(pa.to_host(gradient_there), gradient, rtol=0, atol=1e-11 * np.abs(gradient).max())
    assert np.abs(gradient).max() > 1e-3


@pytest.mark.parametrize(("name", "options"), [("dot_product", {}), ("kuramoto", {}), ("squared", {})])
def test_a_step_of_training(name, options):
    host, device = pair_of(name, **options)
    for model in (host, device):
        optimizer = nn.AdamW(model.parameters, rate=0.01)
        for _ in range(2):
            _, gradient = model.loss_and_gradient(*batch_of())
            nn.clip(gradient, 1.0)
            optimizer.update(gradient)
    there = pa.to_host(device.parameters.values)
    assert np.allclose(there, host.parameters.values, rtol=0, atol=1e-9)  # Adam divides by small moments
    assert np.allclose(device.logits(batch_of()[0]), host.logits(batch_of()[0]), rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("kuramoto", {"feed_forward": "modes", "harmonics": 2, "frustrated": True, "delay": True, "tied": False}),
        ("position_only", {"lags": False}),
        ("resonant", {"form": "softmax"}),
        ("dot_product", {"alibi": True, "positions": "learned", "checkpointing": True}),
    ],
)
def test_options(name, options):
    host, device = pair_of(name, **options)
    inputs, targets, weights = (x[:, :2] for x in batch_of())
    (loss, gradient), (there, gradient_there) = (m.loss_and_gradient(inputs, targets, weights) for m in (host, device))
    assert loss == pytest.approx(there, rel=1e-12)
    assert np.allclose(pa.to_host(gradient_there), gradient, rtol=0, atol=1e-11 * np.abs(gradient).max())


def test_a_model_comes_back():
    _, device = pair_of("dot_product")
    host = device.to_host()
    assert isinstance(host.parameters.values, np.ndarray)
    assert np.isfinite(host.losses(*batch_of()[:2])).all()
