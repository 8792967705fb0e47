"""Muon: an optimizer that gives a layer's update the same size in every direction.

The momentum of a weight matrix is replaced by its nearest semi-orthogonal matrix, found by a few
Newton–Schulz iterations (Jordan et al. 2024, kellerjordan.github.io/posts/muon). Keras has it for
dense layers only (``keras.optimizers.Muon``); here kernels of convolutions count as matrices too,
which is nearly all there is in our networks. What is no matrix, the first layer and the outputs
are left to Adam. A cascade learns in 20 epochs what takes AdamW 45 (EXPERIMENTS.md).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import keras
from keras import ops

_COEFFICIENTS = (
    (8.0934, -23.6204, 17.4462),
    (3.6366, -2.7219, 0.5365),
    (2.6613, -1.9772, 0.4526),
)
"""Of x, x³ and x⁵ in each iteration: those that bring singular values between 0.01 and 1 nearest to
one, each iteration what the one before it leaves (Amsel et al. 2025, arXiv:2505.16932)."""


@dataclass(frozen=True)
class _Group:
    """Variables that are moved together, and what the optimizer remembers of them."""

    members: tuple[int, ...]
    """Their places among the optimizer's variables."""
    momentum: keras.Variable
    """(members, rows, columns) of matrices of one shape, (values,) of all that Adam moves."""
    velocity: keras.Variable | None
    """The same of the squares; None of matrices."""


class Muon(keras.optimizers.Optimizer):
    """Muon for hidden layers' kernels, Adam for everything else.

    Each weight of a matrix moves by ``learning_rate`` in the root mean square, as under Adam with
    gradients that agree; so both take the same rate, and a rate found for one suits the other
    (after Liu et al. 2025, arXiv:2502.16982, whose factor is 0.2 where this has 1).

    Matrices of one shape are moved together, and so is all that Adam moves: a network of many small
    layers has more to do in starting thousands of small operations than in computing them.

    Parameters
    ----------
    outputs
        Regular expression for the paths of variables that are left to Adam besides those that are
        no matrices and those of one input channel.
    dtype
        What the iterations are computed in; bfloat16 will do where it is fast.
    gram
        Iterate on products of columns (see ``orthogonal``).
    together
        Move variables together; False under a ``tf.distribute`` strategy of several devices, which
        updates one variable at a time.
    """

    def __init__(
        self,
        learning_rate: float = 2e-3,
        *,
        momentum: float = 0.95,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        outputs: str = "^$",
        dtype: str = "float32",
        gram: bool = False,
        together: bool = True,
        name: str = "muon",
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, name=name, **options)
        self.momentum, self.beta_1, self.beta_2 = momentum, beta_1, beta_2
        self.epsilon, self.outputs, self.dtype, self.gram = epsilon, outputs, dtype, gram
        self.together = together

    def build(self, variables: list[keras.Variable]) -> None:
        """Group the variables; make a momentum for each group, and a velocity for Adam's."""
        if self.built:
            return
        super().build(variables)
        alike: dict[Any, list[int]] = {}
        for place, one in enumerate(variables):
            key = _as_matrix(one.shape) if self.is_matrix(one) else None
            alike.setdefault(key if self.together else (key, place), []).append(place)
        self.groups = [self._group(variables, tuple(places)) for places in alike.values()]

    def is_matrix(self, variable: keras.Variable) -> bool:
        """Say whether a variable is moved by Muon."""
        shape = variable.shape
        return len(shape) > 1 and shape[-2] > 1 and not re.search(self.outputs, variable.path)

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        """Move a variable that is alone in its group: there are as many, in the same order."""
        group = self.groups[self._get_variable_index(variable)]
        self._move([(group, [gradient], [variable])], learning_rate)

    def _backend_update_step(
        self, grads: list[Any], trainable_variables: list[keras.Variable], learning_rate: Any
    ) -> None:
        """Move all variables; Keras' own, which Nadam overrides too, takes them one by one."""
        if not self.together:
            super()._backend_update_step(grads, trainable_variables, learning_rate)
            return
        given = {
            self._get_variable_index(variable): gradient
            for gradient, variable in zip(grads, trainable_variables, strict=True)
        }
        moves = [
            (group, [given.get(place) for place in group.members],
             [self._trainable_variables[place] for place in group.members])
            for group in self.groups
        ]  # fmt: skip
        self._move(moves, learning_rate)

    def _group(self, variables: list[keras.Variable], members: tuple[int, ...]) -> _Group:
        """Return a group with nothing to remember yet."""
        some = variables[members[0]]
        shape: tuple[int, ...]
        if self.is_matrix(some):
            shape = (len(members), *_as_matrix(some.shape))
        else:
            shape = (sum(prod(variables[place].shape) for place in members),)

        def zeros(name: str) -> keras.Variable:
            return self.add_variable(shape, dtype=some.dtype, initializer="zeros", name=name)

        return _Group(members, zeros("momentum"), None if len(shape) > 1 else zeros("velocity"))

    def _move(self, moves: list[tuple[_Group, list[Any], list[Any]]], learning_rate: Any) -> None:
        """Move groups' variables, but those whose gradient is None."""
        matrices = [one for one in moves if one[0].velocity is None]
        others = [one for one in moves if one[0].velocity is not None]
        momenta = [self._nesterov(group, gradients) for group, gradients, _ in matrices]
        unit = orthogonalize(momenta, self.dtype, gram=self.gram)
        for (group, gradients, variables), matrix in zip(matrices, unit, strict=True):
            rate = ops.cast(learning_rate, group.momentum.dtype)
            size = max(group.momentum.shape[1:]) ** 0.5  # a mean square of one
            step = (rate * size) * ops.cast(matrix, group.momentum.dtype)
            self._subtract(variables, gradients, ops.unstack(step, len(variables)))
        for group, gradients, variables in others:
            step = self._adam(group, gradients, variables, learning_rate)
            ends = itertools.accumulate(prod(one.shape) for one in variables)
            steps = [
                step[end - prod(one.shape) : end] for one, end in zip(variables, ends, strict=True)
            ]
            self._subtract(variables, gradients, steps)

    def _subtract(self, variables: list[Any], gradients: list[Any], steps: list[Any]) -> None:
        for variable, given, step in zip(variables, gradients, steps, strict=True):
            if given is not None:
                self.assign_sub(variable, ops.reshape(step, variable.shape))

    def _nesterov(self, group: _Group, gradients: list[Any]) -> Any:
        """Return the momenta of a group's matrices as if they were a step further."""
        momentum = group.momentum
        _, rows, columns = momentum.shape
        shapes = [(rows, columns)] * len(gradients)
        gradient = ops.stack(_filled(gradients, shapes, momentum.dtype))
        self.assign(momentum, self.momentum * momentum + gradient)
        return self.momentum * momentum + gradient

    def _adam(
        self, group: _Group, gradients: list[Any], variables: list[Any], learning_rate: Any
    ) -> Any:
        """Return by how much Adam moves all that is in a group, (values,)."""
        momentum, velocity = group.momentum, group.velocity
        shapes = [(prod(variable.shape),) for variable in variables]
        gradient = ops.concatenate(_filled(gradients, shapes, momentum.dtype))
        rate = ops.cast(learning_rate, momentum.dtype)
        count = ops.cast(self.iterations + 1, momentum.dtype)
        self.assign_add(momentum, (gradient - momentum) * (1 - self.beta_1))
        self.assign_add(velocity, (ops.square(gradient) - velocity) * (1 - self.beta_2))
        bias = ops.sqrt(1 - ops.power(self.beta_2, count)) / (1 - ops.power(self.beta_1, count))
        return rate * bias * momentum / (ops.sqrt(velocity) + self.epsilon)

    def get_config(self) -> dict[str, Any]:
        """Return what makes the same optimizer again."""
        own = ("momentum", "beta_1", "beta_2", "epsilon", "outputs", "dtype", "gram", "together")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def _filled(gradients: list[Any], shapes: Sequence[tuple[int, ...]], dtype: str) -> list[Any]:
    """Return gradients of these shapes, zeros where there is none."""
    return [
        ops.zeros(shape, dtype) if one is None else ops.cast(ops.reshape(one, shape), dtype)
        for one, shape in zip(gradients, shapes, strict=True)
    ]


def orthogonalize(
    stacks: Sequence[Any], dtype: str = "float32", *, gram: bool = False
) -> list[Any]:
    """Return about the semi-orthogonal matrices nearest to those of each (M, rows, columns) stack.

    Singular values come to lie between 0.7 and 1.3 rather than at one, which is as good for
    training (Jordan et al.); those that are nearly zero stay below.

    With ``gram`` the iterations are made on the square matrices of inner products, in half the time
    (Zhang, Amsel, Chen and Dao 2026, tridao.me/blog/2026/gram-newton-schulz), of all stacks with
    squares of one size together. That takes products in true float32, as CPUs have them; rounded to
    bfloat16 or TF32, small singular values would grow without bounds.
    """
    stacks = [ops.cast(one, dtype) for one in stacks]
    squares = [_square(one) for one in stacks]
    # The norm of a square bounds the square of the largest singular value, more closely than the
    # matrix's own would: that is worth an iteration.
    scales = [ops.rsqrt(_norm(one)) for one in squares]
    if not gram:
        return [_iterate(one * scale) for one, scale in zip(stacks, scales, strict=True)]
    squares = [one * ops.square(scale) for one, scale in zip(squares, scales, strict=True)]
    roots = [scale * root for root, scale in zip(_inverse_roots(squares), scales, strict=True)]
    return [
        ops.matmul(root, one) if _is_wide(one) else ops.matmul(one, root)
        for root, one in zip(roots, stacks, strict=True)
    ]


def _is_wide(x: Any) -> bool:
    return x.shape[-2] < x.shape[-1]


def _square(x: Any) -> Any:
    """Return products of rows or of columns, whichever are fewer."""
    turned = ops.swapaxes(x, -1, -2)
    return ops.matmul(x, turned) if _is_wide(x) else ops.matmul(turned, x)


def _norm(x: Any) -> Any:
    # By the largest number: squares of gradients' squares may be too small for float32.
    largest = ops.max(ops.abs(x), (-2, -1), keepdims=True) + 1e-30
    return largest * ops.sqrt(ops.sum(ops.square(x / largest), (-2, -1), keepdims=True) + 1e-7)


def _iterate(x: Any) -> Any:
    for a, b, c in _COEFFICIENTS:
        square = _square(x)
        change = b * square + c * ops.matmul(square, square)
        x = a * x + (ops.matmul(change, x) if _is_wide(x) else ops.matmul(x, change))
    return x


def _inverse_roots(squares: list[Any]) -> list[Any]:
    """Return ``_inverse_root`` of each stack, those of one size in one go."""
    sizes = [square.shape[-1] for square in squares]
    roots: list[Any] = [None] * len(squares)
    for size in set(sizes):
        places = [place for place, one in enumerate(sizes) if one == size]
        together = _inverse_root(ops.concatenate([squares[place] for place in places]))
        start = 0
        for place in places:
            end = start + squares[place].shape[0]
            roots[place], start = together[start:end], end
    return roots


def _inverse_root(square: Any) -> Any:
    """Return all iterations' product: x times it is what iterating from x on leads to."""
    identity = ops.eye(square.shape[-1], dtype=square.dtype)
    product = None
    for step, (a, b, c) in enumerate(_COEFFICIENTS, start=1):
        change = a * identity + ops.matmul(square, b * identity + c * square)
        product = change if product is None else ops.matmul(product, change)
        if step < len(_COEFFICIENTS):
            square = ops.matmul(change, ops.matmul(change, square))
    return product


def _as_matrix(shape: Sequence[int]) -> tuple[int, int]:
    return prod(shape[:-1]), shape[-1]
