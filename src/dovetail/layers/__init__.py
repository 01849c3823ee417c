"""Layers written inline in a model_fn: built once, kept in the program, found again at each call."""

from dovetail.layers.store import block, layer, scope

__all__ = ["block", "layer", "scope"]
