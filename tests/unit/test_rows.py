from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowrra.rows import Rows


@given(st.lists(st.tuples(st.integers(), st.text(max_size=3)), min_size=1, max_size=12), st.data())
def test_rows_are_read_like_the_list_of_tuples_that_they_stand_for(listed: list[tuple[int, str]], data) -> None:
    rows = Rows([list(column) for column in zip(*listed, strict=True)])
    cut = data.draw(st.slices(len(listed)))
    index = data.draw(st.integers(-len(listed), len(listed) - 1))
    assert len(rows) == len(listed)
    assert list(rows) == listed
    assert rows[index] == listed[index]
    assert list(rows[cut]) == listed[cut]
    assert list(reversed(rows)) == listed[::-1]
    assert listed[0] in rows


def test_rows_of_nothing_are_empty() -> None:
    rows = Rows(([],))
    assert len(rows) == 0
    assert list(rows) == []
    assert list(rows[2:]) == []
