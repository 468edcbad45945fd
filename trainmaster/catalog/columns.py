"""Column types that keep on SQLite what PostgreSQL keeps: the moment, the amount to the cent, the list."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ARRAY, JSON, DateTime, Dialect, Numeric, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator, TypeEngine

Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
TextList = ARRAY(Text).with_variant(JSON(none_as_null=True), "sqlite")


def keepable(value: Any) -> Any:
    """The same as JSON and text columns of both databases take it: no NaN or infinity (null instead), no NUL or half a surrogate
    pair in text; amounts and moments as text."""
    match value:
        case str():
            return value.replace("\0", "\ufffd").encode(errors="replace").decode()
        case float() | Decimal() if not math.isfinite(value):
            return None
        case Decimal() | datetime():
            return f"{value:f}" if isinstance(value, Decimal) else value.isoformat()
        case Mapping():
            return {keepable(str(name)): keepable(one) for name, one in value.items()}
        case list() | tuple():
            return [keepable(one) for one in value]
        case _:
            return value


class Moment(TypeDecorator[datetime]):
    """A point in time, to the microsecond: always aware, always UTC when read.

    SQLite has no such type. The text kept there has a fixed width, so that it sorts as time does.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; the catalogue keeps points in time")
        utc = value.astimezone(UTC)
        return utc.isoformat(timespec="microseconds") if dialect.name == "sqlite" else utc

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment = datetime.fromisoformat(value) if dialect.name == "sqlite" else value
        return moment.astimezone(UTC)


class Amount(TypeDecorator[Decimal]):
    """An amount of money, exactly. SQLite's NUMERIC would make a binary fraction of it: there it is text."""

    impl = Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else Numeric())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        if value is not None and not (isinstance(value, Decimal) and value.is_finite()):
            raise ValueError(f"{value!r} is not an exact amount; give a finite Decimal")
        return str(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:  # noqa: ARG002 - SQLAlchemy's
        return Decimal(value) if value is not None else None
