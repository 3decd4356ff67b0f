"""Numbers as a sentence of the report has them."""


def scientific(value: float, digits: int = 3) -> str:
    """A few digits, powers of ten where they are shorter, with a real minus sign.

    Examples
    --------
    >>> scientific(-0.0312), scientific(3.1e-13, 2)
    ('−0.0312', '3.1·10⁻¹³')
    """
    text = f"{value:.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa}·10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
    return text.replace("-", "−")


def sentence(text: str) -> str:
    """The text with a capital."""
    return text[:1].upper() + text[1:]
