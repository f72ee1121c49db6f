"""Patch moto to cache values that it computes for every request although they never change."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import moto.core.responses
import moto.sqs.models
from moto.core.common_models import BaseModel
from moto.core.serialize import AttributePickerContext, XFormedAttributePicker
from moto.core.utils import camelcase_to_underscores, method_names_from_class

_moto_get_possible_keys = XFormedAttributePicker.get_possible_keys
_moto_new = BaseModel.__new__
_possible_keys: dict[tuple[str, Any, type], tuple[str, ...]] = {}


def _get_possible_keys(self: XFormedAttributePicker, context: AttributePickerContext) -> tuple[str, ...]:
    """Caches the attribute names for a member of a response: 30% of the time to describe 15 instances."""
    identity = (context.key, context.shape, type(context.obj))
    keys = _possible_keys.get(identity)
    if keys is None:
        # At most one entry for each member of the services' models: a few thousand.
        keys = _possible_keys[identity] = tuple(dict.fromkeys(_moto_get_possible_keys(self, context)))
    return keys


def _untracked(cls: type[BaseModel], *_args: Any, **_kwargs: Any) -> BaseModel:
    """Creates a model object without adding it to moto's list of all objects.

    The list is for moto's dashboard, and keeps every deleted message and object in memory.
    """
    return object.__new__(cls)


def install() -> Callable[[], None]:
    """Installs the patches: requests to SQS take about half a millisecond less, and deleted objects are freed.

    Returns:
        A function that removes them.
    """
    underscores = functools.cache(camelcase_to_underscores)
    moto.core.responses.camelcase_to_underscores = underscores  # type: ignore[attr-defined]
    moto.sqs.models.camelcase_to_underscores = underscores  # type: ignore[attr-defined]
    moto.core.responses.method_names_from_class = functools.cache(method_names_from_class)  # type: ignore[attr-defined]
    XFormedAttributePicker.get_possible_keys = _get_possible_keys  # type: ignore[method-assign,assignment]
    BaseModel.__new__ = _untracked  # type: ignore[method-assign]
    return _uninstall


def _uninstall() -> None:
    moto.core.responses.camelcase_to_underscores = camelcase_to_underscores  # type: ignore[attr-defined]
    moto.sqs.models.camelcase_to_underscores = camelcase_to_underscores  # type: ignore[attr-defined]
    moto.core.responses.method_names_from_class = method_names_from_class  # type: ignore[attr-defined]
    XFormedAttributePicker.get_possible_keys = _moto_get_possible_keys  # type: ignore[method-assign]
    BaseModel.__new__ = _moto_new  # type: ignore[method-assign]
