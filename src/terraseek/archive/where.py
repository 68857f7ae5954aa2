"""A small language for comparing properties: ``cloud_cover < 10 and collection = 's2'``.

    expression   disjunction of conjunctions of tests, with not and parentheses
    test         NAME (= | == | != | <> | < | <= | > | >=) VALUE  |  NAME [not] in (VALUE, ...)  |  NAME is [not] null
    NAME         a field of the record (id, source, collection, caption, datetime) or a property, dotted for one inside
                 another (instrument.name), in double quotes where it has other characters ("my property")
    VALUE        number, 'text', true, false

The logic has three values, as in SQL: a record without the property, or with one of another type, is unknown to a
comparison, and unknown is never kept; so neither ``x < 3`` nor ``not x < 3`` keeps a record without x.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import QueryError
from ..typing import BoolArray

__all__ = ["RECORD_FIELDS", "Expression", "parse_datetime", "parse_where"]

Value: TypeAlias = str | float | bool
Column: TypeAlias = NDArray[Any]
"""Values of one name: float64 (NaN where absent), datetime64 (NaT), or object (None)."""
RECORD_FIELDS = ("id", "source", "collection", "caption", "datetime")
MAX_LENGTH = 4096
MAX_DEPTH = 32

TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![\w.])
    | '(?P<text>(?:[^']|'')*)'
    | "(?P<quoted>(?:[^"]|"")+)"
    | (?P<name>[^\W\d][\w:.\-]*)
    | (?P<sign><=|>=|<>|!=|==|=|<|>|\(|\)|,)
    )""",
    re.VERBOSE,
)
DATE = re.compile(r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)(?P<time>[Tt ].+)?)?)?", re.ASCII)
WORDS = frozenset({"and", "or", "not", "in", "is", "null", "true", "false"})
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
SAME_SIGN = {"==": "=", "<>": "!="}


@dataclass(frozen=True)
class Truth:
    """Which records a test holds for, and which it says anything about."""

    true: BoolArray
    known: BoolArray


class Expression:
    """A parsed expression: which names it reads, and which rows it keeps."""

    def __init__(self, text: str, root: Any, names: frozenset[str]) -> None:
        self.text = text
        self.names = names
        self._root = root

    def keeps(self, column: Callable[[str], Column], count: int) -> BoolArray:
        """Which of `count` rows the expression is true for; `column(name)` gives a name's values, None where absent."""
        truth: Truth = self._root(column, count)
        return truth.true & truth.known


def parse_where(text: str) -> Expression:
    """Parse an expression.

    Raises:
        QueryError: it is no expression; the message points at the place.

    Examples:
        >>> rows = {"cloud": np.array([5.0, 50.0, np.nan]), "sensor": np.array(["msi", "msi", "oli"], object)}
        >>> parse_where("cloud < 10 or sensor = 'oli'").keeps(rows.__getitem__, 3)
        array([ True, False,  True])
    """
    if not isinstance(text, str) or not text.strip():
        raise QueryError("where is an expression such as \"cloud_cover < 10 and collection = 's2'\"")
    if len(text) > MAX_LENGTH:
        raise QueryError(f"where has {len(text)} characters, at most {MAX_LENGTH} are read")
    parser = _Parser(text)
    root = parser.either(0)
    parser.expect_end()
    return Expression(text, root, frozenset(parser.names))


def parse_datetime(text: str, *, end: bool = False) -> datetime:
    """A year, a month, a day, or an RFC 3339 time; a time without zone is UTC.

    Args:
        text: "2021", "2021-07", "2021-07-01" or "2021-07-01T12:00:00Z".
        end: of a year, month or day take the last microsecond; else the first moment.

    Raises:
        QueryError: no such date.

    Examples:
        >>> parse_datetime("2021-07").isoformat(), parse_datetime("2021-07", end=True).isoformat()
        ('2021-07-01T00:00:00+00:00', '2021-07-31T23:59:59.999999+00:00')
        >>> parse_datetime("2021-07-01T12:00:00+02:00").isoformat()
        '2021-07-01T10:00:00+00:00'
    """
    match = DATE.fullmatch(text.strip())
    try:
        if match is None:
            raise ValueError
        if match["time"] is not None:
            moment = datetime.fromisoformat(text.strip().upper())
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        year, month, day = (None if part is None else int(part) for part in match.group("year", "month", "day"))
        assert year is not None
        if not end:
            return datetime(year, month or 1, day or 1, tzinfo=UTC)
        last_month = month or 12
        last_day = day or calendar.monthrange(year, last_month)[1]
        return datetime(year, last_month, last_day, 23, 59, 59, 999_999, tzinfo=UTC)
    except (ValueError, OverflowError):  # calendar's own error of a month 13 is a ValueError
        raise QueryError(f"{text!r:.60} is no date; write 2021, 2021-07, 2021-07-01 or 2021-07-01T12:00:00Z") from None


Node: TypeAlias = Callable[[Callable[[str], Column], int], Truth]


class _Parser:
    """Recursive descent over the tokens; each method returns a function that evaluates what it read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.names: set[str] = set()
        self.position = 0
        self.tokens: list[tuple[str, str, int]] = []
        at, end = 0, len(text.rstrip())
        while at < end:
            match = TOKEN.match(text, at)
            if match is None:
                raise QueryError(f"where: cannot read {text[at:].strip()[:20]!r} at character {at + 1}")
            kind = match.lastgroup or ""
            value = match[kind]
            if kind == "name" and value.lower() in WORDS:
                kind, value = "word", value.lower()
            self.tokens.append((kind, value, match.end() - len(match[0].lstrip()) + 1))
            at = match.end()

    def peek(self, *values: str) -> bool:
        if self.position >= len(self.tokens):
            return False
        kind, value, _ = self.tokens[self.position]
        return kind in ("word", "sign") and value in values

    def accept(self, *values: str) -> str | None:
        if not self.peek(*values):
            return None
        self.position += 1
        return self.tokens[self.position - 1][1]

    def fail(self, wanted: str) -> QueryError:
        if self.position >= len(self.tokens):
            return QueryError(f"where: {wanted} is missing at the end of {self.text!r:.120}")
        _, value, at = self.tokens[self.position]
        return QueryError(f"where: expected {wanted}, found {value[:20]!r} at character {at}")

    def expect(self, value: str) -> None:
        if self.accept(value) is None:
            raise self.fail(repr(value))

    def expect_end(self) -> None:
        if self.position < len(self.tokens):
            raise self.fail("'and', 'or' or the end")

    def either(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise QueryError(f"where is nested more than {MAX_DEPTH} deep")
        nodes = [self.both(depth)]
        while self.accept("or"):
            nodes.append(self.both(depth))
        return nodes[0] if len(nodes) == 1 else lambda column, count: _any([node(column, count) for node in nodes])

    def both(self, depth: int) -> Node:
        nodes = [self.test(depth)]
        while self.accept("and"):
            nodes.append(self.test(depth))
        return nodes[0] if len(nodes) == 1 else lambda column, count: _all([node(column, count) for node in nodes])

    def test(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise QueryError(f"where is nested more than {MAX_DEPTH} deep")
        if self.accept("not"):
            inner = self.test(depth + 1)
            return lambda column, count: _invert(inner(column, count))
        if self.accept("("):
            inner = self.either(depth + 1)
            self.expect(")")
            return inner
        return self.comparison(self.name())

    def name(self) -> str:
        if self.position < len(self.tokens):
            kind, value, _ = self.tokens[self.position]
            if kind in ("name", "quoted"):
                self.position += 1
                name = value.replace('""', '"')
                self.names.add(name)
                return name
        raise self.fail("the name of a property")

    def comparison(self, name: str) -> Node:
        if self.accept("is"):
            absent = self.accept("not") is None
            self.expect("null")
            return lambda column, count: _is_null(column(name), absent)
        if self.peek("not", "in"):
            wanted = self.accept("not") is None
            self.expect("in")
            members = self.members(name)
            return lambda column, count: _is_member(column(name), members, wanted)
        sign = self.accept("=", "==", "!=", "<>", "<", "<=", ">", ">=")
        if sign is None:
            raise self.fail("a comparison (= != < <= > >= in is)")
        sign = SAME_SIGN.get(sign, sign)
        value = self.value(name)
        if isinstance(value, bool) and sign not in ("=", "!="):
            raise QueryError(f"where: {name} {sign} {str(value).lower()}: true and false have no order")
        return lambda column, count: _compare(column(name), sign, value)

    def members(self, name: str) -> list[Any]:
        self.expect("(")
        members = [self.value(name)]
        while self.accept(","):
            members.append(self.value(name))
        self.expect(")")
        return members

    def value(self, name: str) -> Any:
        if self.position < len(self.tokens):
            kind, value, _ = self.tokens[self.position]
            read: Any = None
            if kind == "number":
                read = float(value)
            elif kind == "text":
                read = value.replace("''", "'")
            elif kind == "word" and value in ("true", "false"):
                read = value == "true"
            if read is not None:
                self.position += 1
                return _moment(read) if name == "datetime" else read
        raise self.fail("a number, 'text', true or false")


def _moment(value: Value) -> np.datetime64:
    if not isinstance(value, str):
        raise QueryError(f"where: datetime is compared with a date such as '2021-07-01', not {value!r}")
    return np.datetime64(parse_datetime(value).replace(tzinfo=None), "us")


def _all(truths: list[Truth]) -> Truth:
    true = np.logical_and.reduce([truth.true & truth.known for truth in truths])
    false = np.logical_or.reduce([~truth.true & truth.known for truth in truths])
    return Truth(true, true | false)


def _any(truths: list[Truth]) -> Truth:
    true = np.logical_or.reduce([truth.true & truth.known for truth in truths])
    false = np.logical_and.reduce([~truth.true & truth.known for truth in truths])
    return Truth(true, true | false)


def _invert(truth: Truth) -> Truth:
    return Truth(~truth.true, truth.known)


def _is_null(values: Column, absent: bool) -> Truth:
    null = _absent(values)
    return Truth(null if absent else ~null, np.ones(len(values), np.bool_))


def _absent(values: Column) -> BoolArray:
    if values.dtype.kind == "M":
        return np.isnat(values)
    if values.dtype.kind == "f":
        return np.isnan(values)
    return np.fromiter((value is None for value in values), np.bool_, len(values))


def _compare(values: Column, sign: str, wanted: Any) -> Truth:
    test = COMPARE[sign]
    if values.dtype.kind == "O":
        known = np.fromiter((_comparable(value, wanted) for value in values), np.bool_, len(values))
        true = np.zeros(len(values), np.bool_)
        true[known] = [test(value, wanted) for value in values[known]]
        return Truth(true, known)
    if values.dtype.kind == "f" and not (isinstance(wanted, float)):
        nothing = np.zeros(len(values), np.bool_)
        return Truth(nothing, nothing)
    return Truth(np.asarray(test(values, wanted)), ~_absent(values))


def _is_member(values: Column, members: list[Any], wanted: bool) -> Truth:
    truth = _any([_compare(values, "=", member) for member in members])
    return truth if wanted else _invert(truth)


def _comparable(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(wanted, bool)
    if isinstance(wanted, str):
        return isinstance(value, str)
    return isinstance(value, (int, float))
