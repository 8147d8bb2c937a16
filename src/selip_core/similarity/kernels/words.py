"""Words that a user gives, in the form in which the words of findings are compared."""

from collections.abc import Iterable


def normalized(words: Iterable[str], name: str) -> tuple[str, ...]:
    """Return words in Unicode's form NFKC, as findings have them.

    Args:
        words: Several.
        name: What the user calls them, for the error.

    Raises:
        ValueError: If they are one string, or something else than strings.

    Example:
        >>> normalized(["Ｔ１", "T2"], "levels")
        ('T1', 'T2')
    """
    from selip_core.findings import normalize_text

    if isinstance(words, str) or not isinstance(words, Iterable):
        raise ValueError(f"{name} must be several strings, such as a list, got {words!r}")
    words = tuple(words)
    for word in words:
        if not isinstance(word, str):
            raise ValueError(
                f"{name} must be strings, got {type(word).__name__}; a finding's number is "
                "compared as its JSON text, such as '3'"
            )
    return tuple(map(normalize_text, words))
