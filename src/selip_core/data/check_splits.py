"""Checks for leaks between splits: shared patients, studies, reports and texts."""

import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache

from selip_core.data.check_result import Issue
from selip_core.data.manifest import Manifest
from selip_core.findings import Report

_REMEDY = {
    "patient": "put all studies of a patient into one split",
    "study": "put all rows of a study into one split",
}


def check_splits(manifest: Manifest) -> Iterator[Issue]:
    """Yield what two splits share: a test on such data measures memory, not generalisation.

    Errors: a patient or a study in two splits, and a study of two patients. Warnings: ids that look
    like one written in two ways, reports and texts.
    """
    for field in ("patient", "study"):
        yield from _shared_ids(manifest, field)
    yield from _studies_of_two_patients(manifest)
    for field in ("patient", "study", "report"):
        yield from _similar_ids(manifest, field)
    yield from _shared_reports(manifest)
    yield from _shared_texts(manifest)


def written_alike(text: str) -> str:
    r"""Return a key that is equal for texts that differ in how they are written.

    Spaces, full-width and half-width forms, case, kinds of dashes and invisible characters (zero
    width, byte order marks) do not count.

    Example:
        >>> written_alike(" Ｐ1\u200b") == written_alike("p 1"), written_alike("p1") == "p2"
        (True, False)
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return folded.translate(_spelling_table())


@cache
def _spelling_table() -> dict[int, str]:
    """Return what to write for spaces, dashes and characters that show nothing."""
    # These show nothing, and are letters or marks by category: the combining grapheme joiner,
    # fillers of Hangul, inherent vowels of Khmer, variation selectors.
    hidden = [0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0, *range(0xFE00, 0xFE10)]
    table = dict.fromkeys(hidden, "")
    for code in range(sys.maxunicode + 1):
        category = unicodedata.category(chr(code))
        if category in ("Cc", "Cf", "Zs", "Zl", "Zp"):
            table[code] = ""
        elif category == "Pd":
            table[code] = "-"
    return table


def _id_key(text: str) -> str:
    """Return :func:`written_alike` without what spreadsheets take away: leading zeros, ".0"."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"(?<=\d)\.0+$", "", written_alike(text)))


def _shared_ids(manifest: Manifest, field: str) -> Iterator[Issue]:
    """Yield each row that puts a patient or a study into another split than its first row."""
    first: dict[str, int] = {}
    for index, row in enumerate(manifest.rows):
        value: str = getattr(row, field)
        earlier = first.setdefault(value, index)
        split = manifest.rows[earlier].split
        if split != row.split:
            message = (
                f"the {field} of line {manifest.lines[earlier]}, which is in split {split!r}, is "
                f"in split {row.split!r} too; {_REMEDY[field]}"
            )
            yield Issue("error", field, manifest.place(index, field), message, value)


def _studies_of_two_patients(manifest: Manifest) -> Iterator[Issue]:
    first: dict[str, int] = {}
    for index, row in enumerate(manifest.rows):
        earlier = first.setdefault(row.study, index)
        if manifest.rows[earlier].patient != row.patient:
            message = (
                f"the study of line {manifest.lines[earlier]} has another patient there; a study "
                "has one patient"
            )
            yield Issue("error", "study", manifest.place(index, "patient"), message, row.study)


@dataclass(frozen=True)
class _Written:
    """An id as it is written in a split, at the first row that has it."""

    value: str
    split: str
    index: int


def _similar_ids(manifest: Manifest, field: str) -> Iterator[Issue]:
    """Yield ids that another split has, written in another way: once for each id and split."""
    groups: dict[str, dict[tuple[str, str], _Written]] = defaultdict(dict)
    for index, row in enumerate(manifest.rows):
        value: str = getattr(row, field)
        written = _Written(value, row.split, index)
        groups[_id_key(value)].setdefault((value, row.split), written)
    for group in groups.values():
        seen: list[_Written] = []
        for written in group.values():
            for earlier in seen:
                if earlier.value != written.value and earlier.split != written.split:
                    message = (
                        f"the {field} differs from that of line {manifest.lines[earlier.index]}, "
                        f"in split {earlier.split!r}, only in spaces, width, case, dashes, leading "
                        "zeros or invisible characters; if both are one, write one id"
                    )
                    where = manifest.place(written.index, field)
                    yield Issue("warning", f"{field} id", where, message, written.value)
                    break
            seen.append(written)


def _shared_reports(manifest: Manifest) -> Iterator[Issue]:
    """Yield each report in two splits that is not normal, and how many normal ones there are."""
    first: dict[str, int] = {}
    shared: dict[str, int] = {}
    for index, row in enumerate(manifest.rows):
        earlier = first.setdefault(row.report, index)
        if manifest.rows[earlier].split != row.split:
            shared.setdefault(row.report, index)
    normal = {id: None for id in shared if _is_normal(manifest.reports.get(id))}
    for id, index in shared.items():
        if id not in normal:
            earlier = first[id]
            message = (
                f"the report of line {manifest.lines[earlier]}, which is in split "
                f"{manifest.rows[earlier].split!r}, is in split {manifest.rows[index].split!r} "
                "too: retrieval in one finds what was learned by heart in the other"
            )
            yield Issue("warning", "shared report", manifest.place(index, "report"), message, id)
    if normal:
        example = next(iter(normal))
        message = (
            f"{_count(normal, 'normal report')} in more than one split (lines "
            f"{manifest.lines[first[example]]} and {manifest.lines[shared[example]]} for one); "
            "usual where normal studies share one report"
        )
        yield Issue("warning", "shared report", "reports", message, ", ".join(sorted(normal)))


def _shared_texts(manifest: Manifest) -> Iterator[Issue]:
    """Yield how many texts are in two splits under different ids, normal and abnormal ones."""
    used: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in manifest.rows:
        report = manifest.reports.get(row.report)
        for text in set(_texts(report)) if report else ():
            used[text][row.report].add(row.split)
    shared = [ids for ids in used.values() if _is_shared(ids)]
    if not shared:
        return
    abnormal = [ids for ids in shared if not all(_is_normal(manifest.reports[id]) for id in ids)]
    message = (
        f"{_count(shared, 'text')} in more than one split under different report ids, "
        f"{len(abnormal)} of them abnormal; equal normal texts are usual, and an equal abnormal "
        "one is often one report twice"
    )
    ids = sorted({id for group in abnormal for id in group})
    yield Issue("warning", "shared text", "reports", message, ", ".join(ids) or None)


def _is_shared(ids: dict[str, set[str]]) -> bool:
    """Whether two ids have the text in two splits; one id in two splits is a shared report."""
    return len(ids) > 1 and len(set().union(*ids.values())) > 1


def _texts(report: Report) -> Iterator[str]:
    """Yield the texts of a report, in all its languages, as keys."""
    extra = report.model_extra or {}
    named = {"text": report.text} | {k: v for k, v in extra.items() if k.startswith("text")}
    for text in named.values():
        key = written_alike(text) if isinstance(text, str) else ""
        if key:
            yield key


def _is_normal(report: Report | None) -> bool:
    return report is not None and report.normal is True


def _count(items: Collection[object], noun: str) -> str:
    return f"1 {noun} is" if len(items) == 1 else f"{len(items)} {noun}s are"
