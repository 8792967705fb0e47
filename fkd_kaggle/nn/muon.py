"""Muon: an optimizer that orthogonalises the momentum of weight matrices.

The update of a weight matrix is the semi-orthogonal matrix nearest to its momentum, approximated by
a few Newton–Schulz iterations (Jordan et al. 2024, kellerjordan.github.io/posts/muon), so that the
update has the same size in every direction. ``keras.optimizers.Muon`` treats dense layers only.
This optimizer also treats the (h, w, C, F) kernel of a convolution, as the (h·w·C, F) matrix. Other
variables, the first layer and the outputs are updated by Adam. A cascade reaches the error of 45
epochs with AdamW in 20 epochs (docs/experiments.md).
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
"""Factors of x, x³ and x⁵ in each iteration (Polar Express: Amsel et al. 2025, arXiv:2505.16932).

The three iterations bring singular values between 0.01 and 1 as near to 1 as possible. The factors
of each iteration are optimal for the range of values after the previous iteration."""


@dataclass(frozen=True)
class _Group:
    """Variables that are updated together, and their optimizer state."""

    members: tuple[int, ...]
    """Indices of the variables among the optimizer's trainable variables."""
    momentum: keras.Variable
    """(members, rows, columns) for matrices of one shape; (values,) for variables of Adam."""
    velocity: keras.Variable | None
    """(values,), Adam's second moment; None for matrices."""


class Muon(keras.optimizers.Optimizer):
    """Muon for hidden layers' kernels, Adam for everything else.

    The root mean square of a matrix's update is ``learning_rate``, as with Adam and constant
    gradients. Both parts therefore use the same learning rate, and a rate found for Adam suits Muon
    (Liu et al. 2025, arXiv:2502.16982, use the factor 0.2 instead of 1).

    Matrices of one shape are updated together, and so are all variables of Adam: in a network with
    many small layers, starting thousands of small operations costs more than computing them.

    Parameters
    ----------
    learning_rate
        Learning rate of both parts.
    momentum
        Decay of Muon's Nesterov momentum.
    beta_1, beta_2, epsilon
        Adam's parameters.
    outputs
        Regular expression for the paths of matrices that are updated by Adam. Variables with fewer
        than two dimensions or a single input channel are always updated by Adam.
    dtype
        Type in which the iterations are computed; bfloat16 is precise enough.
    gram
        Whether to iterate on Gram matrices (see ``orthogonalize``).
    together
        Whether to update variables in groups. Must be False with a ``tf.distribute`` strategy for
        several devices, which updates one variable at a time.
    name, options
        As for ``keras.optimizers.Optimizer``.
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
        """Group the variables and create the state of each group."""
        if self.built:
            return
        super().build(variables)
        alike: dict[Any, list[int]] = {}
        for index, variable in enumerate(variables):
            key = _as_matrix(variable.shape) if self.is_matrix(variable) else None
            alike.setdefault(key if self.together else (key, index), []).append(index)
        self.groups = [self._group(variables, tuple(indices)) for indices in alike.values()]

    def is_matrix(self, variable: keras.Variable) -> bool:
        """Return whether a variable is updated by Muon, not by Adam."""
        shape = variable.shape
        return len(shape) > 1 and shape[-2] > 1 and not re.search(self.outputs, variable.path)

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        """Update one variable; with ``together=False`` group i consists of variable i."""
        group = self.groups[self._get_variable_index(variable)]
        self._update([(group, [gradient], [variable])], learning_rate)

    def _backend_update_step(
        self, grads: list[Any], trainable_variables: list[keras.Variable], learning_rate: Any
    ) -> None:
        """Update all variables in groups.

        Overrides Keras' method that calls ``update_step`` for each variable, as Nadam does.
        """
        if not self.together:
            super()._backend_update_step(grads, trainable_variables, learning_rate)
            return
        given = {
            self._get_variable_index(variable): gradient
            for gradient, variable in zip(grads, trainable_variables, strict=True)
        }
        updates = [
            (
                group,
                [given.get(index) for index in group.members],
                [self._trainable_variables[index] for index in group.members],
            )
            for group in self.groups
        ]
        self._update(updates, learning_rate)

    def _group(self, variables: list[keras.Variable], members: tuple[int, ...]) -> _Group:
        """Return a group of the variables at indices ``members``, with zero state."""
        first = variables[members[0]]
        shape: tuple[int, ...]
        if self.is_matrix(first):
            shape = (len(members), *_as_matrix(first.shape))
        else:
            shape = (sum(prod(variables[index].shape) for index in members),)

        def zeros(name: str) -> keras.Variable:
            return self.add_variable(shape, dtype=first.dtype, initializer="zeros", name=name)

        return _Group(members, zeros("momentum"), None if len(shape) > 1 else zeros("velocity"))

    def _update(
        self, updates: list[tuple[_Group, list[Any], list[Any]]], learning_rate: Any
    ) -> None:
        """Update variables, given as (group, gradients, variables); skip a gradient of None."""
        matrices = [update for update in updates if update[0].velocity is None]
        others = [update for update in updates if update[0].velocity is not None]
        momenta = [self._nesterov(group, gradients) for group, gradients, _ in matrices]
        orthogonal = orthogonalize(momenta, self.dtype, gram=self.gram)
        for (group, gradients, variables), matrix in zip(matrices, orthogonal, strict=True):
            rate = ops.cast(learning_rate, group.momentum.dtype)
            # A semi-orthogonal matrix times ``size`` has a root mean square of 1.
            size = max(group.momentum.shape[1:]) ** 0.5
            step = (rate * size) * ops.cast(matrix, group.momentum.dtype)
            self._subtract(variables, gradients, ops.unstack(step, len(variables)))
        for group, gradients, variables in others:
            step = self._adam(group, gradients, variables, learning_rate)
            ends = itertools.accumulate(prod(variable.shape) for variable in variables)
            steps = [
                step[end - prod(variable.shape) : end]
                for variable, end in zip(variables, ends, strict=True)
            ]
            self._subtract(variables, gradients, steps)

    def _subtract(self, variables: list[Any], gradients: list[Any], steps: list[Any]) -> None:
        """Subtract the steps from the variables that have a gradient."""
        for variable, given, step in zip(variables, gradients, steps, strict=True):
            if given is not None:
                self.assign_sub(variable, ops.reshape(step, variable.shape))

    def _nesterov(self, group: _Group, gradients: list[Any]) -> Any:
        """Update a group's momentum; return the Nesterov momentum, (members, rows, columns)."""
        momentum = group.momentum
        _, rows, columns = momentum.shape
        shapes = [(rows, columns)] * len(gradients)
        gradient = ops.stack(_filled(gradients, shapes, momentum.dtype))
        self.assign(momentum, self.momentum * momentum + gradient)
        return self.momentum * momentum + gradient

    def _adam(
        self, group: _Group, gradients: list[Any], variables: list[Any], learning_rate: Any
    ) -> Any:
        """Update Adam's state of a group; return the step of its variables, (values,)."""
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
        """Return the constructor's arguments."""
        own = ("momentum", "beta_1", "beta_2", "epsilon", "outputs", "dtype", "gram", "together")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def _filled(gradients: list[Any], shapes: Sequence[tuple[int, ...]], dtype: str) -> list[Any]:
    """Return gradients with the given shapes, and zeros for a gradient of None."""
    return [
        ops.zeros(shape, dtype)
        if gradient is None
        else ops.cast(ops.reshape(gradient, shape), dtype)
        for gradient, shape in zip(gradients, shapes, strict=True)
    ]


def orthogonalize(
    stacks: Sequence[Any], dtype: str = "float32", *, gram: bool = False
) -> list[Any]:
    """Return approximations of the semi-orthogonal matrices nearest to the given ones.

    The resulting singular values lie between 0.7 and 1.3 instead of being 1, which trains equally
    well (Jordan et al. 2024). Singular values below about 0.01 of the largest remain smaller.

    Parameters
    ----------
    stacks
        Tensors (M, rows, columns) of M matrices each.
    dtype
        Type of the computation and of the result.
    gram
        Iterate on the Gram matrices, which takes half the time (Zhang, Amsel, Chen and Dao 2026,
        tridao.me/blog/2026/gram-newton-schulz). Gram matrices of one size are processed together.
        Requires products in full float32, as on CPUs: with bfloat16 or TF32, small singular values
        grow without bound.

    Returns
    -------
    A tensor of the same shape for each stack.
    """
    stacks = [ops.cast(stack, dtype) for stack in stacks]
    grams = [_gram(stack) for stack in stacks]
    # The Frobenius norm of the Gram matrix is a closer bound of the squared largest singular value
    # than the squared norm of the matrix itself. The closer bound saves an iteration.
    scales = [ops.rsqrt(_norm(gram_matrix)) for gram_matrix in grams]
    if not gram:
        return [_iterate(stack * scale) for stack, scale in zip(stacks, scales, strict=True)]
    grams = [
        gram_matrix * ops.square(scale) for gram_matrix, scale in zip(grams, scales, strict=True)
    ]
    roots = [scale * root for root, scale in zip(_inverse_roots(grams), scales, strict=True)]
    return [
        ops.matmul(root, stack) if _is_wide(stack) else ops.matmul(stack, root)
        for root, stack in zip(roots, stacks, strict=True)
    ]


def _is_wide(x: Any) -> bool:
    """Return whether (M, rows, columns) matrices have more columns than rows."""
    return x.shape[-2] < x.shape[-1]


def _gram(x: Any) -> Any:
    """Return the smaller Gram matrix of (M, rows, columns): of the rows or of the columns."""
    transposed = ops.swapaxes(x, -1, -2)
    return ops.matmul(x, transposed) if _is_wide(x) else ops.matmul(transposed, x)


def _norm(x: Any) -> Any:
    """Return the Frobenius norms of (M, n, n) matrices, (M, 1, 1)."""
    # Divide by the largest element first, because fourth powers of gradients may underflow in
    # float32.
    largest = ops.max(ops.abs(x), (-2, -1), keepdims=True) + 1e-30
    return largest * ops.sqrt(ops.sum(ops.square(x / largest), (-2, -1), keepdims=True) + 1e-7)


def _iterate(x: Any) -> Any:
    """Return (M, rows, columns) after all iterations x ← a·x + b·(x xᵀ) x + c·(x xᵀ)² x."""
    for a, b, c in _COEFFICIENTS:
        gram = _gram(x)
        change = b * gram + c * ops.matmul(gram, gram)
        x = a * x + (ops.matmul(change, x) if _is_wide(x) else ops.matmul(x, change))
    return x


def _inverse_roots(grams: list[Any]) -> list[Any]:
    """Return ``_inverse_root`` of each stack; stacks of one matrix size are concatenated."""
    sizes = [gram.shape[-1] for gram in grams]
    roots: list[Any] = [None] * len(grams)
    for size in set(sizes):
        indices = [index for index, other in enumerate(sizes) if other == size]
        together = _inverse_root(ops.concatenate([grams[index] for index in indices]))
        start = 0
        for index in indices:
            end = start + grams[index].shape[0]
            roots[index], start = together[start:end], end
    return roots


def _inverse_root(gram: Any) -> Any:
    """Return the product P of all iterations, (M, n, n): x P (for wide x: P x) is ``_iterate(x)``.

    P approximates the inverse square root of the Gram matrix of x, (M, n, n).
    """
    identity = ops.eye(gram.shape[-1], dtype=gram.dtype)
    product = None
    for step, (a, b, c) in enumerate(_COEFFICIENTS, start=1):
        change = a * identity + ops.matmul(gram, b * identity + c * gram)
        product = change if product is None else ops.matmul(product, change)
        if step < len(_COEFFICIENTS):
            gram = ops.matmul(change, ops.matmul(change, gram))
    return product


def _as_matrix(shape: Sequence[int]) -> tuple[int, int]:
    """Return (rows, columns) of a kernel (..., C, F) as a matrix."""
    return prod(shape[:-1]), shape[-1]
