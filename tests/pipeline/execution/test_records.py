"""Records of a unit: the JSON that formats before them had, and back."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.execution.manifest import Quarantined
from pipeline.execution.records import Records

texts = st.text(st.characters(codec="utf-8"), max_size=5)


def test_the_column_is_a_list_of_three() -> None:
    records = Records(["a/1.png"], [7], [Quarantined("a/2.png", "there/a/2.png", "is empty")])
    assert records.to_json() == '[["a/1.png"], [7], [["a/2.png", "there/a/2.png", "is empty"]]]'
    passing = Records([], [], [Quarantined("a", "there/a", "answers 503", True)])
    assert passing.to_json() == '[[], [], [["a", "there/a", "answers 503", true]]]'
    assert Records(["5"]).to_json() == '[["5"], [], []]'


@given(
    st.lists(texts),
    st.lists(st.integers(0, 2**31 - 1)),
    st.lists(st.builds(Quarantined, texts, texts, texts, st.booleans())),
)
def test_records_come_back_as_they_were(keys: list[str], labels: list[int], quarantined: list[Quarantined]) -> None:
    there = Records.from_json(Records(keys, labels, quarantined).to_json())
    assert there == Records(keys, labels, tuple(quarantined))
    assert all(isinstance(item, Quarantined) for item in there.quarantined)
