"""How numbers and names are written wherever a person reads them: terminal, page, pictures and messages."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

_DIGITS = 4  # of a number whose error is not known
_ERROR_DIGITS = 2  # of an error; the number ends where its error does
NORMAL = 1.959964  # half a 95% interval, in standard errors


def plain(text: object) -> str:
    """Write text as one line that does nothing but stand there: whatever a terminal would act on becomes an escape.

    That is control characters, ends of lines, marks that turn the direction of writing, and halves of characters.

    >>> print(plain("lr\\x1b[2J"), plain("µ × 学習"))
    lr\\x1b[2J µ × 学習
    """
    given = str(text)
    if given.isprintable():
        return given
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else _escaped(c) for c in given)


def short(value: object) -> str:
    """Write a value of a user on one line of at most 100 characters, for a message.

    >>> short([1, 2]), len(short("x" * 200))
    ('[1, 2]', 100)
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= 100 else text[:97] + "..."


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


class Style(NamedTuple):
    """Where numbers that stand together end: at 10 ** -last, with or without an exponent."""

    last: int
    scientific: bool

    def write(self, value: float, *, sign: bool = False) -> str:
        """Write a number, with a plus where `sign` asks for one; "-" for one that is not known.

        >>> Style(4, False).write(-0.00001), Style(8, True).write(7.04e-6), Style(2, False).write(0.5, sign=True)
        ('0.0000', '7.04e-06', '+0.50')
        """
        if not math.isfinite(value):
            return "-"
        plus = "+" if sign else ""
        if self.scientific and value:
            return f"{value:{plus}.{max(_power(value, 1) + self.last, 0)}e}"
        return f"{value:{plus}z.{0 if self.scientific else max(self.last, 0)}f}"


def style_of(value: float, error: float = math.nan) -> Style:
    """Say where a number ends: at the second digit of its error, or after four digits where none is known.

    >>> style_of(0.9123, 0.0021), style_of(7e-6, 5e-7), style_of(250_000.0, 50.0)
    (Style(last=4, scientific=False), Style(last=8, scientific=True), Style(last=0, scientific=False))
    """
    size = abs(value) if math.isfinite(value) else 0.0
    known = math.isfinite(error) and error > 0
    last = _ERROR_DIGITS - 1 - _power(error, _ERROR_DIGITS) if known else _DIGITS - 1 - _power(size, _DIGITS)
    largest = max(size, error) if known else size
    return Style(last, largest >= 1e6 or (last > 6 and largest < 1e-3))


def number(value: float, error: float = math.nan) -> str:
    """Write a number by its error.

    >>> number(0.91234, 0.0021), number(7.04e-6, 5e-7), number(0.91234), number(7.04e-6), number(float("nan"))
    ('0.9123', '7.04e-06', '0.9123', '7.040e-06', '-')
    """
    return style_of(value, error).write(value)


def interval(value: float, low: float, high: float) -> tuple[str, str, str]:
    """Write a number and the ends of its 95% interval.

    >>> interval(0.8157, 0.7502, 0.8813), interval(7.1e-6, 6.5e-6, 7.7e-6)
    (('0.816', '0.750', '0.881'), ('7.10e-06', '6.50e-06', '7.70e-06'))
    """
    style = interval_style(value, low, high)
    return style.write(value), style.write(low), style.write(high)


def bounded(value: float, low: float, high: float) -> str:
    """Write a number with its 95% interval, as part of a sentence.

    >>> bounded(0.8157, 0.7502, 0.8813)
    '0.816, 95% interval 0.750 to 0.881'
    """
    return "{}, 95% interval {} to {}".format(*interval(value, low, high))


def interval_style(value: float, low: float, high: float) -> Style:
    """Say where a number ends whose 95% interval is known."""
    return style_of(value, (high - low) / 2 / NORMAL)


def column(
    values: Sequence[float], errors: Sequence[float] | None = None, *, sign: bool = False
) -> list[tuple[str, str]]:
    """Write numbers that stand below each other, and their errors: they end alike, but for those that this would hide.

    >>> column([0.9, 0.25, 7e-6], [0.03, 0.1, 5e-7])
    [('0.900', '0.030'), ('0.250', '0.100'), ('7.00e-06', '5.0e-07')]
    """
    errors = [math.nan] * len(values) if errors is None else errors
    pairs = list(zip(map(float, values), map(float, errors), strict=True))
    own = [style_of(value, error) for value, error in pairs]
    known = [style for style, (value, _) in zip(own, pairs, strict=True) if math.isfinite(value)]
    ends = sorted(style.last for style in known if not style.scientific)
    common = Style(ends[len(ends) // 2], False) if ends else None
    found = []
    for style, (value, error) in zip(own, pairs, strict=True):
        fits = common is not None and not style.scientific and style.last <= common.last + 1
        hides = value == 0 and not error > 0
        chosen = common if common is not None and (fits or hides) else style
        found.append((chosen.write(value, sign=sign), _error(error, chosen) if math.isfinite(value) else "-"))
    return found


def _error(error: float, style: Style) -> str:
    """An error beside its number; with its own digits where the number's do not reach it."""
    if math.isfinite(error) and 0 < error < 0.5 * 10.0**-style.last:
        return f"{error:.1e}"
    return style.write(error)


def _power(value: float, digits: int) -> int:
    """The power of ten of a number that is rounded to so many digits; 0 for 0."""
    return int(f"{abs(value):.{digits - 1}e}".partition("e")[2]) if value else 0
