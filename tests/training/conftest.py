"""What the tests of `training` share."""

from __future__ import annotations

import pytest

from tests.training.helpers import small_network


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small network as `cifar-cnn`, and no curves drawn after each epoch."""
    import training.run_record
    from training.architectures import cifar

    monkeypatch.setattr(cifar, "_reference", small_network)
    monkeypatch.setattr(training.run_record, "draw_curves", lambda *_: None)
