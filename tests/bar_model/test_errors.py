import pickle

import pytest

from bar_model.errors import MOST_CHARACTERS, BadInput, interpreting, one_line


def test_its_line_survives_the_way_to_another_process() -> None:
    error = pickle.loads(pickle.dumps(BadInput("patch 3: must divide the grid")))  # noqa: S301  (made here)
    assert isinstance(error, BadInput)
    assert isinstance(error, ValueError)
    assert str(error) == "patch 3: must divide the grid"


def test_an_error_of_several_lines_becomes_one() -> None:
    assert one_line(ValueError("first\n\tsecond  third\n")) == "first second third"


@pytest.mark.parametrize(
    ("quoted", "shown"),
    [
        ("a  b é 漢", "a  b é 漢"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\udcff.png", r"\udcff.png"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
    ],
)
def test_a_message_is_one_line_whatever_it_quotes(quoted: str, shown: str) -> None:
    message = str(BadInput(f"{quoted}: rename it"))
    assert message == f"{shown}: rename it"
    assert message.isprintable()


def test_a_message_that_quotes_megabytes_loses_its_middle() -> None:
    message = str(BadInput(f"list.csv, row 3: {'x' * 10**6}: correct it"))
    assert len(message) < MOST_CHARACTERS
    assert message.startswith("list.csv, row 3: xxx")
    assert message.endswith("xxx: correct it")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("two\nlines"), "a.json is damaged (two lines): restore it"),
        (KeyError("format"), "a.json is damaged ('format' is missing): restore it"),
        (RecursionError(), "a.json is damaged (RecursionError): restore it"),
        (OSError(22, "Invalid argument"), "a.json is damaged ([Errno 22] Invalid argument): restore it"),
        (BadInput("of another version: update"), "of another version: update"),
    ],
)
def test_what_cannot_be_interpreted_is_refused_in_one_line(error: Exception, message: str) -> None:
    with pytest.raises(BadInput) as refused, interpreting("a.json is damaged", "restore it"):
        raise error
    assert str(refused.value) == message


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_a_lack_of_memory_and_an_interruption_are_no_damage(error: type[BaseException]) -> None:
    with pytest.raises(error), interpreting("a.json is damaged", "restore it"):
        raise error
