"""What one open view in one browser has been sent, and what it wants to see."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from flowrra_jupyter.lanes import Told
from flowrra_jupyter.ordering import SORTS, Query
from flowrra_jupyter.sources import Source, Stretch
from flowrra_jupyter.view_models import BY_CODE, Head, Place, Row, delta, keys

MOST_ROWS: Final = 120
LEASE: Final = 600.0
"""Seconds after which a viewer that has not been heard of is gone: a page that crashed says no good-bye."""

Message = Mapping[str, Any]


class Viewer:
    """Used by the publishing thread alone."""

    def __init__(self, name: str, source: Source) -> None:
        self.name = name
        self.visible = True
        self.heard = 0.0
        self.open: int | None = None
        """The row whose details it shows."""
        self._source = source
        self._seq = 0
        self._asked = True
        self._first, self._count = 0, 40
        self._arrangement = source.arranged(Query())
        self._start_over()

    def _start_over(self) -> None:
        self._rows: dict[int, Row] = {}
        self._order: list[int] = []
        self._place: Place | None = None
        self._head: Head | None = None
        self._told = Told()
        self._whole = True

    @property
    def engaged(self) -> bool:
        """Whether a person has begun to look around, so that nothing should vanish under their hands."""
        return self.open is not None or self._arrangement.query != Query()

    @property
    def waits(self) -> bool:
        """Whether the person has asked for something that has not come yet."""
        return self._asked or self.searching

    @property
    def searching(self) -> bool:
        """Whether a filter has not seen all rows yet."""
        return self._arrangement.searched < 1.0

    def look(self, message: Message, now: float) -> None:
        """The browser says which rows it shows, and what it has of them."""
        self.visible, self.heard, self._asked = True, now, True
        self._first = max(0, int(message.get("first", 0)))
        self._count = min(MOST_ROWS, max(1, int(message.get("count", 40))))
        query = query_in(message)
        opened = message.get("open")
        self.open = opened if isinstance(opened, int) and 0 <= opened < len(self._source.table) else None
        if query != self._arrangement.query:
            self._arrangement = self._source.arranged(query)
        if self.open is None:
            self._arrangement.let_go()
        else:
            self._arrangement.hold()
        if message.get("have") != self._seq:
            self._start_over()

    def ask(self) -> None:
        """Something else than the runs may be different; it is looked at in any case."""
        self._asked = True

    def arrange(self, changed: Sequence[Stretch], clock: Callable[[], float]) -> None:
        """Put the rows in order again, as far as need be."""
        until = self._first + self._count
        self._arrangement.update(changed, clock, live=not self._source.ended, until=until)

    def news(self, head: Head) -> bytes | None:
        """Return the message that brings the browser up to date, or None if it is."""
        self._asked = False
        arrangement = self._arrangement
        window = arrangement.window(self._first, self._count)
        rows = self._source.rows(window)
        change = delta(self._rows, self._order, head, rows)
        place = Place(
            first=self._first,
            matching=len(arrangement),
            searched=round(arrangement.searched, 3),
            held=arrangement.held,
        )
        shown = self._source.lanes.shown()
        lanes = self._told.news(shown, self._source.label)
        # Time alone is no news: the browser moves the clocks by itself.
        told = self._head is not None and _same(self._head, head) and place == self._place
        if told and not (change["rows"] or "order" in change or lanes or self._whole):
            return None
        self._rows, self._order = {row["key"]: row for row in rows}, keys(rows)
        self._head, self._place = head, place
        self._seq += 1
        body = {
            **change, "seq": self._seq, "whole": self._whole, "place": place, "lanes": lanes,
            "workers": [lane.name for lane in shown],
        }  # fmt: skip
        self._whole = False
        return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def query_in(message: Message) -> Query:
    """Read what a browser wants to see; what makes no sense is as if it were not said."""
    sort, word = message.get("sort"), message.get("word")
    return Query(
        sort=sort if sort in SORTS else "status",
        descending=bool(message.get("descending")),
        codes=frozenset({BY_CODE.index(word)}) if word in BY_CODE else frozenset(),
        text=str(message.get("text") or "")[:200],
    )


_MOVING: Final = ("elapsed", "rate", "left", "speed_up")


def _same(before: Head, after: Head) -> bool:
    return {**before, **dict.fromkeys(_MOVING)} == {**after, **dict.fromkeys(_MOVING)}
