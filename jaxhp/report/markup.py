"""HTML and SVG from text: what is not markup already is escaped, so that no name that a user chose becomes a tag.

Characters that would act where text is shown are written as escapes (`words.plain`).
"""

from __future__ import annotations

import html

from jaxhp.words import plain

_VOID = ("meta", "br")


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """Make an element.

    Args:
      name: of its tag.
      children: what is in it, see `joined`.
      attributes: those that are None are left out; `_` in their names stands for `-`, at the end for nothing.

    >>> element("p", "a < b", element("b", 1), class_="note", aria_label='"x"')
    '<p class="note" aria-label="&quot;x&quot;">a &lt; b<b>1</b></p>'
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    told = "".join(f' {key}="{html.escape(plain(value))}"' for key, value in given.items())
    return Markup(f"<{name}{told}>" if name in _VOID else f"<{name}{told}>{joined(*children)}</{name}>")


def joined(*children: object) -> Markup:
    """Put children one after another: markup as it is, anything else as text; None is nothing."""
    known = (child for child in children if child is not None)
    return Markup("".join(child if isinstance(child, Markup) else html.escape(plain(child)) for child in known))
