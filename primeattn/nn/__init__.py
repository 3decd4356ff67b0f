"""Layers, models and optimisers without autograd: each file has its forward pass above its backward pass."""

__all__: list[str] = []
