"""Muon: an optimizer that gives a layer's update the same size in every direction.

The momentum of a weight matrix is replaced by its nearest semi-orthogonal matrix, found by a few
Newton–Schulz iterations (Jordan et al. 2024, kellerjordan.github.io/posts/muon). Keras has it for
dense layers only (``keras.optimizers.Muon``); here kernels of convolutions count as matrices too,
which is nearly all there is in our networks. What is no matrix, the first layer and the outputs
are left to Adam. A cascade learns in 20 epochs what takes AdamW 45 (EXPERIMENTS.md).
"""

from __future__ import annotations

import re
from math import prod
from typing import Any

import keras
from keras import ops

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the iteration, tuned for few steps (Jordan et al.)."""
_STEPS = 5


class Muon(keras.optimizers.Optimizer):
    """Muon for hidden layers' kernels, Adam for everything else.

    Each weight of a matrix moves by ``learning_rate`` in the root mean square, as under Adam with
    gradients that agree; so both take the same rate, and a rate found for one suits the other
    (after Liu et al. 2025, arXiv:2502.16982, whose factor is 0.2 where this has 1).

    Parameters
    ----------
    outputs
        Regular expression for the paths of variables that are left to Adam besides those that are
        no matrices and those of one input channel.
    dtype
        What the iterations are computed in; bfloat16 will do where it is fast.
    gram
        Iterate on products of columns (see ``orthogonal``).
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
        name: str = "muon",
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, name=name, **options)
        self.momentum, self.beta_1, self.beta_2 = momentum, beta_1, beta_2
        self.epsilon, self.outputs, self.dtype, self.gram = epsilon, outputs, dtype, gram

    def build(self, variables: list[keras.Variable]) -> None:
        """Make a momentum for each variable, and a velocity for those that Adam moves."""
        if self.built:
            return
        super().build(variables)
        self.momenta = [self.add_variable_from_reference(one, name="momentum") for one in variables]
        self.velocities = [
            None if self.is_matrix(one) else self.add_variable_from_reference(one, name="velocity")
            for one in variables
        ]

    def is_matrix(self, variable: keras.Variable) -> bool:
        """Say whether a variable is moved by Muon."""
        shape = variable.shape
        return len(shape) > 1 and shape[-2] > 1 and not re.search(self.outputs, variable.path)

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        """Move one variable."""
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, variable.dtype)
        rate = ops.cast(learning_rate, variable.dtype)
        momentum, velocity = self.momenta[index], self.velocities[index]
        if velocity is None:
            self.assign(momentum, self.momentum * momentum + gradient)
            # Nesterov's: as if the momentum were a step further.
            ahead = self.momentum * momentum + gradient
            rows, columns = prod(variable.shape[:-1]), variable.shape[-1]
            step = orthogonal(ops.reshape(ahead, (rows, columns)), self.dtype, gram=self.gram)
            size = max(rows, columns) ** 0.5  # a mean square of one
            step = ops.reshape(ops.cast(step, variable.dtype), variable.shape)
            self.assign_sub(variable, (rate * size) * step)
            return
        count = ops.cast(self.iterations + 1, variable.dtype)
        self.assign_add(momentum, (gradient - momentum) * (1 - self.beta_1))
        self.assign_add(velocity, (ops.square(gradient) - velocity) * (1 - self.beta_2))
        bias = ops.sqrt(1 - ops.power(self.beta_2, count)) / (1 - ops.power(self.beta_1, count))
        self.assign_sub(variable, rate * bias * momentum / (ops.sqrt(velocity) + self.epsilon))

    def get_config(self) -> dict[str, Any]:
        """Return what makes the same optimizer again."""
        own = ("momentum", "beta_1", "beta_2", "epsilon", "outputs", "dtype", "gram")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def orthogonal(matrix: Any, dtype: str = "float32", *, gram: bool = False) -> Any:
    """Return about the semi-orthogonal matrix nearest to ``matrix``, both (rows, columns).

    Singular values come to lie between 0.7 and 1.2 rather than at one, which is as good for
    training (Jordan et al.); those that are nearly zero stay below.

    With ``gram`` the iterations are made on the square matrix of inner products, in half the time
    (Zhang, Amsel, Chen and Dao 2026, tridao.me/blog/2026/gram-newton-schulz). That takes products
    in true float32, as CPUs have them; rounded to bfloat16 or TF32, small singular values would
    grow without bounds.
    """
    rows, columns = matrix.shape
    x = ops.cast(matrix / (ops.sqrt(ops.sum(ops.square(matrix))) + 1e-7), dtype)
    # On the side that makes the smaller square.
    wide = rows < columns
    if gram:
        together = _inverse_root(_square(x, wide))
        return ops.matmul(together, x) if wide else ops.matmul(x, together)
    a, b, c = _COEFFICIENTS
    for _ in range(_STEPS):
        square = _square(x, wide)
        change = b * square + c * ops.matmul(square, square)
        x = a * x + (ops.matmul(change, x) if wide else ops.matmul(x, change))
    return x


def _square(x: Any, wide: bool) -> Any:
    return ops.matmul(x, ops.transpose(x)) if wide else ops.matmul(ops.transpose(x), x)


def _inverse_root(square: Any) -> Any:
    """Return all iterations' product: x times it is what iterating from x on leads to."""
    a, b, c = _COEFFICIENTS
    product = identity = ops.eye(square.shape[0], dtype=square.dtype)
    for step in range(_STEPS):
        change = a * identity + b * square + c * ops.matmul(square, square)
        product = ops.matmul(product, change) if step else change
        if step + 1 < _STEPS:
            square = ops.matmul(change, ops.matmul(change, square))
    return product
