"""What a knob may hold: sections, and bounds within which a value works rather than overflows."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from purchasepath.errors import ConfigError

_MOST = 1_000_000_000  # more than anybody has, and far from where integers end
_CENTURY_DAYS = 36_500  # as good as never; in microseconds, and so far back from any day, still a time

Count = Annotated[int, Field(ge=1, le=_MOST)]
CountOrNone = Annotated[int, Field(ge=0, le=_MOST)]
Weight = Annotated[float, Field(ge=0, le=_MOST)]
Days = Annotated[float, Field(ge=0, le=_CENTURY_DAYS)]
Hours = Annotated[float, Field(ge=0.001, le=24 * _CENTURY_DAYS)]
Minutes = Annotated[float, Field(ge=0.001, le=24 * 60 * _CENTURY_DAYS)]
Seconds = Annotated[float, Field(ge=0.001, le=86_400 * _CENTURY_DAYS)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]


_SECRET = re.compile(r"secret|passw(or)?d|account\.?key|private\.?key|api\.?key|"
                     r"(session|access|sas|oauth|fixed)\.?token$", re.IGNORECASE)
"""What names of settings that hold secrets are made of."""
_PASSWORD = re.compile(r"passw(or)?d=|://[^/?#\s]*:[^/?#\s]*@", re.IGNORECASE)
"""What holds one in an address."""


class Section(BaseModel):
    """A frozen group of knobs; unknown keys, infinities and what is no number are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False,
                              validate_default=True)

    @field_validator("*")
    @classmethod
    def _without_nul(cls, value: Any) -> Any:
        if isinstance(value, str) and "\0" in value:
            raise ValueError("the text holds a NUL, which no path, name or address may")
        return value


def known_zone(name: str) -> str:
    """`name`, if it is a time zone's; a ValueError otherwise, which the configuration tells with the key."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: a folder of the zone database, such as "Europe"
        raise ValueError("not a time zone; expected a name such as Europe/Berlin") from None
    return name


def known_day(text: str) -> str:
    """`text`, if it is a day of the calendar from 1970 on; a ValueError otherwise."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ValueError("not a day of the calendar; expected one such as 2024-01-31") from None
    if not 1970 <= day.year < 2200 or str(day) != text:
        raise ValueError("expected a day between 1970-01-01 and 2199-12-31, written so")
    return text


def known_moment(text: str) -> str:
    """`text`, if it is empty, a day or a moment (ISO 8601, UTC) from 1970 on; a ValueError otherwise."""
    try:
        at = datetime.fromisoformat(text) if text else None
    except ValueError:
        raise ValueError("not a moment; expected one such as 2024-01-31 or 2024-01-31T12:00") from None
    if at and (not 1970 <= at.year < 2200 or at.utcoffset()):
        raise ValueError("expected a moment from 1970-01-01 to 2199-12-31, in UTC")
    return text


def each_once(choices: tuple[Any, ...]) -> tuple[Any, ...]:
    """`choices`, unless one is made twice."""
    if len(set(choices)) < len(choices):
        raise ValueError("expected each once")
    return choices


def file_name(name: str) -> str:
    """`name`, if files and models of MLflow can have it; a ValueError otherwise."""
    if not name.strip() or name.startswith(".") or set(name) & set("/:\n") or len(name.encode()) > 200:
        raise ValueError("expected a name of at most 200 bytes, without / and :, that begins with no dot")
    return name


def without_password(address: str) -> str:
    """`address`, unless it holds a password. Not a ValueError: the configuration tells that with the value."""
    if _PASSWORD.search(address):
        raise ConfigError(["an address holds a user's password, which would be written into run manifests and MLflow; "
                           "leave it out and give it in the environment (MLFLOW_TRACKING_USERNAME and "
                           "MLFLOW_TRACKING_PASSWORD; of a database, its own file such as ~/.pgpass)"])
    return address


def some_path(path: object) -> object:
    """`path`, unless it is empty: that would be the working directory itself."""
    if isinstance(path, str) and not path.strip():
        raise ValueError("expected a path")
    return path


def without_secrets(conf: dict[str, str]) -> dict[str, str]:
    """Spark settings, unless one holds a secret. Not a ValueError, either."""
    named = [key for key, value in conf.items() if _SECRET.search(key) or _PASSWORD.search(value)]
    if named:
        raise ConfigError([f"spark.conf: {', '.join(named)} would be written into run manifests; put it into the "
                           "spark-defaults.conf in SPARK_CONF_DIR, which only you may read"])
    return conf


Address = Annotated[str, Field(min_length=1), AfterValidator(without_password)]
FileName = Annotated[str, AfterValidator(file_name)]
Once = AfterValidator(each_once)
Settings = Annotated[dict[str, str], AfterValidator(without_secrets)]
