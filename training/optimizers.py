"""Make optimizers with two learning rates: one for new layers, a smaller one for pretrained layers."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

import keras

_BASES = {"adamw": keras.optimizers.AdamW, "adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}


class OptimizerConfig(Protocol):
    """The fields of a configuration that concern the optimizer; see `training.config.TrainingConfig`."""

    @property
    def optimizer(self) -> str: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def initialized_learning_rate(self) -> float: ...
    @property
    def momentum(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def clip_norm(self) -> float: ...
    @property
    def warmup_epochs(self) -> float: ...


def make_optimizer(
    config: OptimizerConfig, model: keras.Model, initialized: Collection[str], *, epochs: int, steps_per_epoch: int
) -> keras.optimizers.Optimizer:
    """Makes the optimizer of one stage: linear warm-up, then cosine decay to zero at the last step.

    Args:
        model: with exactly the stage's layers set trainable.
        initialized: names of the layers with the smaller learning rate.
        epochs: the stage's length.
        steps_per_epoch: batches in each epoch.
    """
    ratio = config.initialized_learning_rate / config.learning_rate
    factors = [ratio if layer.name in initialized else 1.0 for layer in model.layers for _ in layer.trainable_variables]
    warmup_steps = round(config.warmup_epochs * steps_per_epoch)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup_steps else config.learning_rate,
        max(epochs * steps_per_epoch - warmup_steps, 1),
        warmup_target=config.learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )
    options: dict[str, Any] = {"momentum": config.momentum, "nesterov": True} if config.optimizer == "sgd" else {}
    optimizer = _discriminative(_BASES[config.optimizer], factors)(
        learning_rate=schedule,
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip_norm or None,
        **options,
    )
    # Weight decay is for the kernels of convolutions and dense layers, not for gains and biases.
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return optimizer


def _discriminative(base: type[keras.optimizers.Optimizer], factors: list[float]) -> type[keras.optimizers.Optimizer]:
    """An optimizer class that multiplies the learning rate by `factors`, one for each variable, in their order."""

    class Discriminative(base):  # type: ignore[misc]
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            factor = factors[self._get_variable_index(variable)]
            super().update_step(gradient, variable, learning_rate * factor)

    return Discriminative
