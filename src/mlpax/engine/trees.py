"""Trees of arrays: dictionaries, tuples and lists of them, without JAX."""

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["leaves", "mapped", "member", "named_leaves", "rebuilt", "stacked"]

Tree = Any  # an array, or a dictionary, tuple or list of trees


def mapped(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Return the tree of what a function returns for each array, and those in its place in other trees."""
    if isinstance(tree, dict):
        return {name: mapped(function, one, *(o[name] for o in others)) for name, one in tree.items()}
    if isinstance(tree, (tuple, list)):
        parts = [mapped(function, *ones) for ones in zip(tree, *others, strict=True)]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return function(tree, *others)


def named_leaves(tree: Tree, path: str = "") -> dict[str, np.ndarray]:
    """Return a tree's arrays by their paths, such as `params/0/1`."""
    if isinstance(tree, dict):
        parts = [*tree.items()]
    elif isinstance(tree, (tuple, list)):
        parts = [*zip(getattr(tree, "_fields", range(len(tree))), tree, strict=True)]
    else:
        return {path: np.asarray(tree)}
    found: dict[str, np.ndarray] = {}
    for name, one in parts:
        found |= named_leaves(one, f"{path}/{name}" if path else str(name))
    return found


def leaves(tree: Tree) -> list[np.ndarray]:
    """Return a tree's arrays, in their order."""
    if not isinstance(tree, (dict, tuple, list)):
        return [tree]
    return [leaf for one in (tree.values() if isinstance(tree, dict) else tree) for leaf in leaves(one)]


def rebuilt(arrays: dict[str, np.ndarray], like: Tree) -> Tree:
    """Return the tree of arrays from `named_leaves`; `like` is any tree of the same structure."""
    left = iter([arrays[name] for name in named_leaves(like)])
    return mapped(lambda _: next(left), like)


def stacked(trees: "list[Tree]") -> Tree:
    """Return one tree of several: each array with an axis of the trees before its own."""
    return mapped(lambda *arrays: np.stack(arrays), *trees)


def member(tree: Tree, k: int) -> Tree:
    """Return the k-th of stacked trees, as views."""
    return mapped(lambda array: array[k], tree)
