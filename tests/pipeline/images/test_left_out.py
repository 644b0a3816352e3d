"""What is left out is counted by reason, with the first names, in one line that any terminal shows."""

from pipeline.images.left_out import MOST_REASONS, OTHER, LeftOut, printable


def test_reasons_are_counted_with_their_first_names() -> None:
    left_out = LeftOut()
    assert not left_out
    for number in range(1234):
        left_out.add("ending in .txt", f"cat/{number}.txt")
    left_out.add("dangling link", "cat/link.png")
    assert str(left_out) == (
        "1,234 ending in .txt (cat/0.txt, cat/1.txt, cat/2.txt, …); 1 dangling link (cat/link.png)"
    )
    assert left_out["ending in .txt"] == 1234


def test_however_many_reasons_there_are_few_are_held() -> None:
    left_out = LeftOut()
    for number in range(500):
        left_out.add(f"ending in .{number}", f"{number}.{number}")
    assert left_out[OTHER] == 500 - MOST_REASONS
    assert str(left_out).count(";") == MOST_REASONS


def test_counts_of_several_files_are_added_in_their_order() -> None:
    parts = [LeftOut() for _ in range(3)]
    for number, part in enumerate(parts):
        for _ in range(number + 3):
            part.add("hidden", f"{number}")
        for reason in range(10):
            part.add(f"reason {number} {reason}", "x")
    whole = LeftOut()
    for part in parts:
        whole.update(part)
    assert whole["hidden"] == 12
    assert "12 hidden (0, 0, 0, …)" in str(whole)
    assert whole[OTHER] == 30 + 1 - MOST_REASONS


def test_any_name_is_shown_in_one_line() -> None:
    assert printable("é b'.png") == "é b'.png"
    assert printable("new\nline\udcff.png") == r"new\nline\udcff.png"
    printable("\udcff\u2028").encode()
