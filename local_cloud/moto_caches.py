"""What moto works out from scratch for every request although it never changes, remembered."""

from __future__ import annotations

import functools
from typing import Any

import moto.core.responses
import moto.sqs.models
from moto.core.common_models import BaseModel
from moto.core.serialize import AttributePickerContext, XFormedAttributePicker
from moto.core.utils import camelcase_to_underscores, method_names_from_class

_moto_get_possible_keys = XFormedAttributePicker.get_possible_keys
_possible_keys: dict[tuple[str, Any, type], tuple[str, ...]] = {}


def _get_possible_keys(self: XFormedAttributePicker, context: AttributePickerContext) -> tuple[str, ...]:
    """The names under which a model object may hold a member of the answer: 30% of describing 15 instances."""
    identity = (context.key, context.shape, type(context.obj))
    keys = _possible_keys.get(identity)
    if keys is None:
        # There are as many as the services' models have members: a few thousand.
        keys = _possible_keys[identity] = tuple(dict.fromkeys(_moto_get_possible_keys(self, context)))
    return keys


def _untracked(cls: type[BaseModel], *_args: Any, **_kwargs: Any) -> BaseModel:
    """Creates a model object without entering it in moto's list of all that ever were.

    The list is for moto's dashboard, and keeps every deleted message and object in memory.
    """
    return object.__new__(cls)


def install() -> None:
    """Lowers moto's overheads: for requests to SQS by about half a millisecond, and memory that never comes back."""
    underscores = functools.cache(camelcase_to_underscores)
    moto.core.responses.camelcase_to_underscores = underscores  # type: ignore[attr-defined]
    moto.sqs.models.camelcase_to_underscores = underscores  # type: ignore[attr-defined]
    moto.core.responses.method_names_from_class = functools.cache(method_names_from_class)  # type: ignore[attr-defined]
    XFormedAttributePicker.get_possible_keys = _get_possible_keys  # type: ignore[method-assign,assignment]
    BaseModel.__new__ = _untracked  # type: ignore[method-assign]
