"""Where buffers go and what is given up: for any slabs, nothing pinned, never too much that is idle."""

from __future__ import annotations

from hypothesis import assume, example, given
from hypothesis import strategies as st

from flowrra.pool.data import budget
from flowrra.pool.data.budget import MB, PAGE, SlabFacts

sizes = st.integers(1, 4096).map(lambda count: count * PAGE * 16)


@st.composite
def slabs(draw: st.DrawFn) -> list[SlabFacts]:
    count = draw(st.integers(0, 12))
    return [
        SlabFacts(
            number,
            draw(sizes),
            draw(st.booleans()),
            draw(st.floats(0, 100)),
            draw(st.integers(0, 2)),
            draw(st.booleans()),
            draw(st.booleans()),
        )
        for number in range(count)
    ]


@given(slabs(), st.integers(0, 512 * MB), st.integers(MB, 2048 * MB), st.floats(100, 200))
def test_nothing_pinned_is_given_up_and_what_stays_idle_is_within_bounds(
    every: list[SlabFacts], need: int, most: int, now: float
) -> None:
    given_up = set(budget.to_give_up(every, need, most, now))
    assert not any(slab.pinned for slab in every if slab.number in given_up)
    stays = [slab for slab in every if slab.number not in given_up]
    idle = [slab for slab in stays if not slab.pinned]
    assert sum(slab.size for slab in idle) <= budget.most_idle(most)
    assert all(now - slab.used_at < budget.AGE for slab in idle)
    in_memory = sum(slab.size for slab in stays if not slab.spilled)
    if any(not slab.spilled for slab in idle):
        assert budget.fits_into_memory(need, in_memory, most)


@given(slabs(), st.floats(100, 200))
def test_of_idle_slabs_the_longest_unused_go_first(every: list[SlabFacts], now: float) -> None:
    used_at = {slab.number: slab.used_at for slab in every}
    order = [used_at[number] for number in budget.to_give_up(every, 0, 64 * MB, now)]
    assert order == sorted(order)


@given(slabs(), sizes, st.integers(MB, 2048 * MB))
def test_only_memory_that_nobody_can_see_is_written_anew(every: list[SlabFacts], need: int, most: int) -> None:
    number = budget.to_rewrite(every, need, most)
    assume(number is not None)
    [slab] = [slab for slab in every if slab.number == number]
    assert (slab.pinned, slab.mapped, slab.spilled) == (False, False, False)
    assert slab.size >= need


@given(st.lists(st.integers(1, 200 * MB), max_size=300), st.integers(2, 300), st.integers(64 * MB, 1 << 36))
@example([9 * MB] * 300, 64, 1 << 36)
def test_descriptors_suffice_for_any_buffers(needs: list[int], most_open: int, most: int) -> None:
    """The number of slabs may pass the bound only by doubling what is held."""
    opened = held = room = 0
    beyond = 0
    for need in map(budget.pages, needs):
        if budget.goes_alone(need, opened, most_open):
            size = need
        elif need <= room:
            room -= need
            continue
        else:
            size = budget.gathered_size(need, opened, most_open, held, most)
            room = size - need
        assert size >= need
        beyond += opened >= most_open
        opened, held = opened + 1, held + size
    assert beyond <= 12
