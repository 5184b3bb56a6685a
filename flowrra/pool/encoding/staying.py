"""What belongs to the submitting process alone and never travels: handles, batches and apps."""

from __future__ import annotations

from typing import Any

from flowrra.errors import FlowrraError


class StaysHereError(FlowrraError):
    """Raised out of the pickler when it meets such an object; the path to it is found afterwards."""


class HandleFoundError(StaysHereError):
    """It was a handle or a batch."""


class AppFoundError(StaysHereError):
    """It was an app."""


def is_handle(value: Any) -> bool:
    return getattr(type(value), "__flowrra_handle__", False)


def is_app(value: Any) -> bool:
    return getattr(type(value), "__flowrra_app__", False)


def refuse_what_stays(value: Any) -> None:
    """Raises ``StaysHereError``."""
    if is_handle(value):
        raise HandleFoundError
    if is_app(value):
        raise AppFoundError
