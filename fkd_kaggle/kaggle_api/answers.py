"""Validation of Kaggle's answers: types of fields, and values that kagglesdk does not know.

kagglesdk stores any JSON value in any field and raises exceptions of any type for other structures.
Within ``transport.connection_rules``, a field of a wrong type raises UnexpectedAnswerError, null
means a field that is not set, and an unknown name of an enum becomes an :class:`UnknownName`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, TypeVar

from fkd_kaggle.kaggle_api import transport

T = TypeVar("T")


class UnexpectedAnswerError(ValueError):
    """Kaggle's answer has a field of a wrong type."""


@dataclass(frozen=True)
class UnknownName:
    """A value of an enum that is newer than kagglesdk, such as a new status."""

    name: str


def read_message(kind: type[T], value: Any) -> T:
    """Return a message of kagglesdk from a JSON value, with the same validation.

    Raises
    ------
    UnexpectedAnswerError
        A field is of a wrong type; kagglesdk raises exceptions of other types for other errors.
    """
    install()
    with transport.connection_rules(transport.ConnectionRules(timeout=1.0)):
        message: T = kind.from_dict(value)  # type: ignore[attr-defined]
        return message


@functools.cache
def install() -> None:
    """Make kagglesdk validate answers; without rules for connections it reads as before."""
    from kagglesdk import kaggle_object

    read_field = kaggle_object.FieldMetadata.set_from_dict
    read_enum = kaggle_object.EnumSerializer._from_str

    @functools.wraps(read_field)
    def set_from_dict(field: Any, instance: Any, answer: Any) -> None:
        if transport.are_applied():
            if not isinstance(answer, dict):
                raise UnexpectedAnswerError(f"{_kind(answer)} instead of an object")
            value = answer.get(field.json_name)
            if value is None:
                return
            answer = {field.json_name: _checked(field, field.serializer, value, kaggle_object)}
            try:
                read_field(field, instance, answer)
            except (ValueError, ArithmeticError) as error:  # a text that is no date or duration
                if isinstance(error, UnexpectedAnswerError):
                    raise
                raise UnexpectedAnswerError(f"{field.json_name} cannot be read") from error
            return
        read_field(field, instance, answer)

    @functools.wraps(read_enum)
    def from_str(kind: Any, value: Any) -> Any:
        try:
            return read_enum(kind, value)
        except KeyError:
            if not transport.are_applied():
                raise
            return UnknownName(value)

    kaggle_object.FieldMetadata.set_from_dict = set_from_dict
    kaggle_object.EnumSerializer._from_str = staticmethod(from_str)


def _checked(field: Any, serializer: Any, value: Any, sdk: Any) -> Any:
    """Return the JSON value of a field if its type is right."""
    if isinstance(serializer, sdk.PredefinedSerializer):
        return _checked_value(field.json_name, field.field_type, value)
    if isinstance(serializer, sdk.ListSerializer):
        if not isinstance(value, list):
            raise UnexpectedAnswerError(f"{field.json_name} is {_kind(value)} instead of a list")
        if field.field_type in (str, int, float, bool):
            return [_checked_value(field.json_name, field.field_type, item) for item in value]
        return value
    if isinstance(serializer, sdk.MapSerializer | sdk.KaggleObjectSerializer):
        wanted: Any = dict
    else:
        wanted = str  # enums, dates and durations
    if not isinstance(value, wanted):
        raise UnexpectedAnswerError(f"{field.json_name} is {_kind(value)}")
    return value


def _checked_value(name: str, kind: Any, value: Any) -> Any:
    """Return a string, number or boolean if its type is right."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, str) and value.lstrip("-").isdecimal() and len(value) < 21:
        return int(value)  # JSON of Protocol Buffers writes 64-bit integers as strings
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    wrong = isinstance(value, bool) and kind is not bool
    if kind is int and isinstance(value, int):
        wrong = wrong or abs(value) >= 1 << 63
    if wrong or (isinstance(kind, type) and not isinstance(value, kind)):
        raise UnexpectedAnswerError(f"{name} is {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    """Return what a JSON value is, without its content."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return names.get(type(value), "null" if value is None else "a number")
