"""Whole numbers as people write them: 100000, 100_000, 1e5."""


def whole_number(text: str) -> int:
    """The whole number that a text stands for.

    Raises:
        ValueError: it is none, or a fraction. tyro takes this to mean that an option can't have the value.
    """
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    # Beyond 2^53 not every whole number is a float: 1e17 might be read as another than what is written.
    if not number.is_integer() or abs(number) > 2**53:
        raise ValueError(f"{text!r} is no whole number")
    return int(number)
