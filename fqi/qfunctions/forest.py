"""Regression trees as arrays: grown by scikit-learn, packed for a file, unpacked without trust in it, asked quickly.

A packed tree is its nodes in preorder: `feature` [n] (-1 at a leaf), `threshold` of each inner node and `value` of each
leaf, in the same order. Which nodes are whose children follows from which of them are leaves, so a file cannot name a
node that is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from sklearn.tree._tree import NODE_DTYPE, Tree

from fqi.nest import Array

SHARE = 1024  # rows below which another thread is not worth starting where trees are descended
GATHERED = 2**15  # the same where leaves are known
LEAF = -1


@dataclass(frozen=True)
class Packed:
    """Trees one after the other."""

    nodes: Array  # [T] int64: nodes of each tree
    feature: Array  # [sum of nodes] int16: the column that an inner node looks at, LEAF at a leaf
    threshold: Array  # [inner nodes] float32: rows not above it go left
    value: Array  # [leaves] float64


class Forest:
    """T trees; what they say of a row is the mean of the leaves that it falls into."""

    def __init__(self, trees: Sequence[Tree], inputs: int, values: Sequence[Array] | None = None) -> None:
        self.trees, self.inputs = list(trees), inputs
        # By node, 0 at inner nodes: no row ends there.
        self.values = [tree.value.reshape(-1).copy() for tree in trees] if values is None else list(values)
        self.leaf_count = sum(int(tree.n_leaves) for tree in trees)  # scikit-learn counts anew each time

    def leaves(self, x: Array, jobs: int) -> Array:
        """[T, B] int32: the node that each row of x [B, D] float32 ends in."""
        found = np.empty((len(self.trees), len(x)), np.int32)

        def ask(rows: slice) -> None:
            for t, tree in enumerate(self.trees):
                found[t, rows] = tree.apply(x[rows])

        _shared(ask, len(x), jobs)
        return found

    def predict(self, x: Array, jobs: int) -> Array:
        """[B] float64. The trees are summed in their order whatever the number of threads: same bits."""
        total = np.zeros(len(x))

        def ask(rows: slice) -> None:
            for tree, values in zip(self.trees, self.values, strict=True):
                total[rows] += values[tree.apply(x[rows])]

        _shared(ask, len(x), jobs)
        return total / len(self.trees)

    def predict_leaves(self, leaves: Array, jobs: int) -> Array:
        """[B] the same bits as `predict`, for rows whose leaves [T, B] are known."""
        total = np.zeros(leaves.shape[1])

        def ask(rows: slice) -> None:
            own, told = torch.from_numpy(total[rows]), torch.empty(rows.stop - rows.start, dtype=torch.float64)
            for values, leaf in zip(self.values, leaves, strict=True):  # torch takes 32-bit numbers as they are
                own += torch.index_select(torch.from_numpy(values), 0, torch.from_numpy(leaf[rows]), out=told)

        _shared(ask, len(total), jobs, GATHERED)
        return total / len(self.trees)

    def pack(self) -> Packed:
        nodes, feature, threshold, value = [], [], [], []
        for tree, values in zip(self.trees, self.values, strict=True):
            leaf = tree.children_left < 0
            if not np.array_equal(tree.children_left[~leaf], np.flatnonzero(~leaf) + 1):
                raise RuntimeError("scikit-learn grew a tree whose nodes are not in preorder")
            nodes.append(tree.node_count)
            feature.append(np.where(leaf, LEAF, tree.feature).astype(np.int16))
            threshold.append(_float32_below(tree.threshold[~leaf]))
            value.append(values[leaf])
        return Packed(np.array(nodes), *(np.concatenate(parts) for parts in (feature, threshold, value)))

    @classmethod
    def unpack(cls, packed: Packed, inputs: int) -> Forest:
        """Raises ValueError, with what was expected, if these are not trees over rows of `inputs` columns."""
        total, inner = int(packed.nodes.sum()), int((packed.feature != LEAF).sum())
        if (packed.nodes < 1).any() or total != len(packed.feature):
            raise ValueError(f"nodes that add up to the {len(packed.feature)} features")
        if len(packed.threshold) != inner or len(packed.value) != total - inner:
            raise ValueError(
                f"a threshold for each of {inner} inner nodes and a value for each of {total - inner} leaves"
            )
        if (packed.feature < LEAF).any() or (packed.feature >= inputs).any():
            raise ValueError(f"features from 0 to {inputs - 1}, or {LEAF} at a leaf")
        trees, values = [], []
        node = split = leaf = 0
        for count in packed.nodes.tolist():
            feature = packed.feature[node : node + count]
            is_leaf = feature == LEAF
            leaves = int(is_leaf.sum())
            trees.append(_tree(feature, packed.threshold[split : split + count - leaves], inputs))
            values.append(np.zeros(count))
            values[-1][is_leaf] = packed.value[leaf : leaf + leaves]
            node, split, leaf = node + count, split + count - leaves, leaf + leaves
        return cls(trees, inputs, values)


def constant(count: int, inputs: int) -> Forest:
    """Trees that know nothing: one leaf of value 0 each."""
    nodes = np.ones(count, np.int64)
    return Forest.unpack(
        Packed(nodes, np.full(count, LEAF, np.int16), np.zeros(0, np.float32), np.zeros(count)), inputs
    )


def _right_children(is_leaf: Array) -> Array:
    """The right child of every node, in preorder (its left child is the next node); LEAF at a leaf.

    Let the open count before a node be the inner nodes so far less the leaves so far. It is one higher within the left
    subtree than before its parent, and back at the parent's own count at the right child, which is therefore the next
    node with the same count.
    """
    steps = np.where(is_leaf, -1, 1)
    after = np.cumsum(steps)
    if (after[:-1] < 0).any() or after[-1] != -1:
        raise ValueError("the nodes of each tree in preorder, each inner node followed by its two subtrees")
    before = after - steps
    short = before.max() < 2**15  # sixteen bits sort faster
    order = np.argsort(before.astype(np.int16) if short else before, kind="stable")
    following = np.full(len(before), LEAF)
    following[order[:-1]] = order[1:]
    return np.where(is_leaf, LEAF, following)


def _tree(feature: Array, threshold: Array, inputs: int) -> Tree:
    """scikit-learn's own structure over these nodes: its C loop asks faster than array operations could."""
    is_leaf = feature == LEAF
    nodes = np.zeros(len(feature), NODE_DTYPE)
    nodes["left_child"] = np.where(is_leaf, LEAF, np.arange(1, len(feature) + 1))
    nodes["right_child"] = _right_children(is_leaf)
    nodes["feature"] = np.where(is_leaf, -2, feature)
    nodes["threshold"][~is_leaf] = threshold
    nodes["threshold"][is_leaf] = -2
    tree = Tree(inputs, np.array([1], np.intp), 1)
    tree.__setstate__(
        {
            "max_depth": len(threshold),  # at most: one level for each inner node
            "node_count": len(feature),
            "nodes": nodes,
            "values": np.zeros((len(feature), 1, 1)),
        }
    )
    return tree


def _float32_below(threshold: Array) -> Array:
    """The largest float32 not above each threshold: float32 rows fall on the same side of it."""
    rounded = threshold.astype(np.float32)
    return np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _shared(ask: Callable[[slice], None], count: int, jobs: int, least: int = SHARE) -> None:
    """Ask for all rows, each thread for one contiguous share: a tree is then read from memory once a thread."""
    shares = max(1, min(jobs, count // least))
    edges = [count * i // shares for i in range(shares + 1)]
    rows = [slice(start, stop) for start, stop in pairwise(edges)]
    if shares == 1:
        ask(rows[0])
        return
    with ThreadPoolExecutor(shares) as pool:
        list(pool.map(ask, rows))
