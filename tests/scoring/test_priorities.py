"""Several criteria at once: the front and the weighted rank of made-up ligands."""

from __future__ import annotations

from esr1md.config import Weights
from esr1md.scoring.priorities import Priority, Wish, priorities


def wishes(error: float | None = 0.1) -> dict[str, tuple[Wish, ...]]:
    values = {
        "binder": (-8.0, 0.0, 2.0),
        "holder": (0.0, -8.0, 0.0),
        "middle": (-3.0, -3.0, 1.0),
        "beaten": (1.0, 1.0, 3.0),
    }
    return {name: tuple(Wish(v, error, 20.0) for v in row) for name, row in values.items()}


def test_the_front_holds_everything_that_is_best_at_something():
    found = priorities(wishes(), Weights())
    assert {name for name, p in found.items() if p.on_front} == {"binder", "holder", "middle"}
    assert found["beaten"].p_front == 0.0 and found["binder"].p_front == 1.0
    assert found["beaten"].rank == 4


def test_weights_decide_the_order_and_zero_leaves_a_criterion_out():
    assert priorities(wishes(), Weights(binding=10, helix12=1, resistance=1))["binder"].rank == 1
    assert priorities(wishes(), Weights(binding=0, helix12=10, resistance=0))["holder"].rank == 1
    only = priorities(wishes(), Weights(binding=1, helix12=0, resistance=0))
    assert [name for name, p in only.items() if p.on_front] == ["binder"]
    assert sorted(only, key=lambda n: only[n].rank) == ["binder", "middle", "holder", "beaten"]


def test_noise_widens_the_rank_and_shares_the_front():
    calm, noisy = priorities(wishes(0.1), Weights()), priorities(wishes(4.0), Weights())
    assert sum(p.high - p.low for p in noisy.values()) > sum(p.high - p.low for p in calm.values())
    assert 0.02 < noisy["beaten"].p_front < 0.9
    assert all(p.low <= p.rank <= p.high for p in noisy.values())


def test_an_unknown_error_leaves_the_chances_open_but_not_the_order():
    found = priorities(wishes(None), Weights())
    assert {p.p_front for p in found.values()} == {None}
    assert sorted(p.rank for p in found.values()) == [1, 2, 3, 4]
    assert all((p.low, p.high) == (1, 4) for p in found.values())


def test_a_ligand_without_a_criterion_stands_aside():
    rows = wishes()
    rows["apart"] = (Wish(-9.0, 0.1), Wish(None, None), Wish(0.0, 0.1))
    found = priorities(rows, Weights())
    assert found["apart"] == Priority()
    assert sorted(p.rank for name, p in found.items() if name != "apart") == [1, 2, 3, 4]
    assert priorities(rows, Weights(helix12=0))["apart"].rank == 1


def test_a_criterion_that_is_the_same_for_all_does_not_divide_by_zero():
    rows = {name: (row[0], Wish(1.0, 0.1), row[2]) for name, row in wishes().items()}
    assert sorted(p.rank for p in priorities(rows, Weights()).values()) == [1, 2, 3, 4]


def test_one_ligand_has_nobody_to_be_compared_with():
    assert priorities({"alone": wishes()["binder"]}, Weights()) == {"alone": Priority()}
