"""Random similarities of random corpora against double loops of plain Python.

The loops are written from the documentation, in the order in which it states the rules, and share
no code with the library.
"""

import functools
import itertools
import math
import random
import statistics
from collections import Counter
from dataclasses import dataclass
from importlib import import_module

import torch

from selip_core.findings import Finding, Report
from selip_core.similarity import (
    FindingKernel,
    MixedSimilarity,
    SemanticSimilarity,
    Similarity,
    SyntaxSimilarity,
    closeness,
    dice,
    exact,
    ordered,
    synonyms,
)

CASES = 40
VALUES = {
    "site": ["pons", "insula", "left pons", "桥脑", ""],
    "signal": ["low", "iso", "high", "mixed"],
    "extent": ["3 mm", "0.3 cm", "8 mm", "2 ml", "small"],
    "grade": [1, 2, 2.5, [1], True],
}
MILLIMETRES = {"3 mm": 3.0, "0.3 cm": 3.0, "8 mm": 8.0}
LEVELS = ["low", "iso", "high"]
MISSING = ("equal", "nothing", "neutral", "leave_out")
GROUPS = [["pons", "桥脑"], ["high", "mixed"]]


# The kernel of two findings: a number, or None where it is left out.


@dataclass(frozen=True, eq=False)
class Plain:
    """A kernel of the library and the same by its definition."""

    kernel: FindingKernel
    value: object
    largest: float
    only_negated: bool = False


def leaf(chance, policies=MISSING):
    field = chance.choice([*VALUES, "negated", ("site", "signal"), ("signal", "negated")])
    missing = chance.choice(policies)
    kernel, known = chance.choice(LEAVES)(field, missing)
    worth = {"nothing": 0.0, "neutral": 1.0, "leave_out": None}

    def value(f, g):
        a, b = words(f, field), words(g, field)
        if a is None or b is None:
            return worth.get(missing, float(a is b))
        return 1.0 if a == b else known(a, b)

    return Plain(kernel, value, 1.0, field == "negated")


def words(finding, field):
    if isinstance(field, str):
        return finding.value(field)
    found = {name: finding.value(name) for name in field if finding.value(name) is not None}
    return " ".join(found.values()) if set(found) - {"negated"} else None


def dice_of_pairs(a, b):
    left, right = ({text[i : i + 2] for i in range(len(text) - 1)} for text in (a, b))
    total = len(left) + len(right)
    return 2 * len(left & right) / total if total else 0.0


def by_level(a, b):
    if a not in LEVELS or b not in LEVELS:
        return 0.0
    return 1 - abs(LEVELS.index(a) - LEVELS.index(b)) / (len(LEVELS) - 1)


def by_size(a, b):
    if a not in MILLIMETRES or b not in MILLIMETRES:
        return 0.0
    return math.exp(-abs(MILLIMETRES[a] - MILLIMETRES[b]) / 5)


LEAVES = [
    lambda field, missing: (exact(field, missing=missing), lambda a, b: 0.0),
    lambda field, missing: (dice(field, 2, missing=missing), dice_of_pairs),
    lambda field, missing: (ordered(field, LEVELS, missing=missing), by_level),
    lambda field, missing: (closeness(field, "5 mm", missing=missing), by_size),
    lambda field, missing: (
        synonyms(field, GROUPS, missing=missing),
        lambda a, b: float(any({a, b} <= set(group) for group in GROUPS)),
    ),
]


def random_kernel(chance, policies, depth=0):
    kind = chance.choice(["leaf", "sum", "product", "product", "power"])
    if depth == 3 or kind == "leaf":
        return leaf(chance, policies)
    if kind == "power":
        return power(random_kernel(chance, policies, depth + 1), chance.choice([0.5, 2.0]))
    count = chance.choice([2, 2, 3])
    parts = [random_kernel(chance, policies, depth + 1) for _ in range(count)]
    if kind == "sum":
        return sum_of([scaled(chance.choice([1, 2]) / (2 * len(parts)), part) for part in parts])
    product = parts[0]
    for part in parts[1:]:
        product = product_of(product, part)
    return product


def scaled(factor, part):
    def value(f, g):
        found = part.value(f, g)
        return None if found is None else factor * found

    return Plain(factor * part.kernel, value, factor * part.largest, part.only_negated)


def power(part, gamma):
    def value(f, g):
        found = part.value(f, g)
        return None if found is None else found**gamma

    return Plain(part.kernel**gamma, value, part.largest**gamma, part.only_negated)


def product_of(left, right):
    only_negated = left.only_negated and right.only_negated

    def value(f, g):
        found = {part: part.value(f, g) for part in (left, right)}
        if not is_known(found, only_negated):
            return None
        return math.prod(
            part.largest if found[part] is None else found[part] for part in (left, right)
        )

    return Plain(left.kernel * right.kernel, value, left.largest * right.largest, only_negated)


def sum_of(parts):
    largest = math.fsum(part.largest for part in parts)
    only_negated = all(part.only_negated for part in parts)

    def value(f, g):
        found = {part: part.value(f, g) for part in parts}
        if not is_known(found, only_negated):
            return 0.0
        known = [part for part in parts if found[part] is not None]
        total = sum(found[part] for part in known)
        return total * largest / sum(part.largest for part in known)

    kernel = sum((part.kernel for part in parts[1:]), parts[0].kernel)
    return Plain(kernel, value, largest, only_negated)


def is_known(found, only_negated):
    """Whether any part is known of two findings; whether they are negated alone says nothing."""
    return any(
        value is not None for part, value in found.items() if only_negated or not part.only_negated
    )


# The similarity of two reports.


def random_finding(chance):
    fields = {name: chance.choice(VALUES[name]) for name in VALUES if chance.random() < 0.6}
    return Finding(negated=chance.random() < 0.25, **fields)


def random_reports(chance):
    found = [random_finding(chance) for _ in range(chance.randint(2, 8))]
    reports = []
    for place in range(chance.randint(2, 24)):
        text = "".join(chance.choices("abcde ", k=6)) + "a"
        chosen = chance.choices(found, k=chance.choice([0, 1, 1, 2, 3]))
        normal = chance.random() < 0.2
        reports.append(
            Report(id=f"r{place}", normal=normal, findings=[] if normal else chosen, text=text)
        )
    return reports


@dataclass(frozen=True)
class Case:
    """A similarity of the library, the same by its definition, and how exact it is.

    ``table(rows, columns)`` has a number for each pair of reports, or two where rounding decides on
    which side of a threshold it is.
    """

    similarity: Similarity
    table: object
    tolerance: float = 1e-10


def random_syntax(chance, reports):
    settings = {
        "aggregation": chance.choice(["mean", "best"]),
        "gamma": chance.choice([0.5, 1.0, 1.0, 3.0]),
        "min_similarity": chance.choice([0.0, 0.0, 0.31]),
        "top_k": chance.choice([None, None, 1, 2]),
        "equal": chance.choice(["one", "aggregate"]),
        "normal": chance.choice(["alike", "paper"]),
        "negated": chance.choice(["apart", "ignored"]),
    }
    found = [
        finding
        for report in reports
        for finding in report.findings
        if any(finding.value(field) is not None for field in VALUES)
    ]
    missing = chance.choice([MISSING, ("leave_out",)])
    plain = random_kernel(chance, missing)
    # Findings that have no field of the kernel are refused, so that another is drawn.
    while plain.only_negated or (found and not counting(plain, found)):
        plain = random_kernel(chance, missing)
    similarity = SyntaxSimilarity(plain.kernel, **settings)
    return Case(similarity, lambda rows, columns: syntax_table(plain, settings, rows, columns))


def counting(plain, findings):
    """Return the findings that have a field of the kernel, besides negation."""
    read = [field for field in plain.kernel.fields if field != "negated"]
    return [f for f in findings if any(f.value(field) is not None for field in read)]


def syntax_table(plain, settings, rows, columns):
    read = [*plain.kernel.fields, *(["negated"] * (settings["negated"] == "apart"))]

    def content(report):
        key = Counter(
            repr([f.value(field) for field in read]) for f in counting(plain, report.findings)
        )
        return frozenset(key.items())

    def kernel(f, g):
        if settings["negated"] == "apart" and f.negated != g.negated:
            return 0.0
        return plain.value(f, g) or 0.0

    def aggregate(a, b):
        left, right = counting(plain, a.findings), counting(plain, b.findings)
        if not left or not right:
            return 0.0
        if settings["aggregation"] == "mean":
            return statistics.fmean(kernel(f, g) for f in left for g in right)
        forth = statistics.fmean(max(kernel(f, g) for g in right) for f in left)
        back = statistics.fmean(max(kernel(f, g) for f in left) for g in right)
        return (forth + back) / 2

    def policy(a, b, shaped):
        if a.id == b.id:
            return (1.0,)
        if a.normal or b.normal:
            return (float(bool(a.normal and b.normal and settings["normal"] == "alike")),)
        if not content(a) or not content(b):
            return (0.0,)
        return (1.0,) if settings["equal"] == "one" and content(a) == content(b) else shaped

    return policies(settings, rows, columns, content, aggregate, policy)


def random_semantic(chance, reports):
    settings = {
        "mapping": chance.choice(["affine", "clip", "exp"]),
        "gamma": chance.choice([1.0, 3.0]),
        "min_similarity": chance.choice([0.0, 0.31]),
        "top_k": chance.choice([None, 1, 2]),
    }

    def encoder(texts):
        return torch.tensor([[text.count(letter) for letter in "abcde"] for text in texts])

    def similarity(a, b):
        left, right = (encoder([report.text])[0].tolist() for report in (a, b))
        cosine = sum(x * y for x, y in zip(left, right, strict=True))
        cosine /= math.hypot(*left) * math.hypot(*right)
        if settings["mapping"] == "affine":
            return (1 + cosine) / 2
        return max(0.0, cosine) if settings["mapping"] == "clip" else math.exp((cosine - 1) / 0.1)

    def policy(a, b, shaped):
        return (1.0,) if a.id == b.id or a.text == b.text else shaped

    def table(rows, columns):
        return policies(settings, rows, columns, lambda report: report.text, similarity, policy)

    # Embeddings are kept in float32.
    return Case(SemanticSimilarity(encoder, **settings), table, 1e-5)


def policies(settings, rows, columns, content, unshaped, policy):
    """Return the table: the power, what is too small, the largest, then the policies."""
    slack = 1e-6
    by_id = {report.id: report for report in (*rows, *columns)}

    @functools.cache
    def powered_by_id(a, b):
        return unshaped(by_id[a], by_id[b]) ** settings["gamma"]

    def powered(a, b):
        return powered_by_id(a.id, b.id)

    def largest(report, others):
        """Return the k-th largest among the distinct contents of the others."""
        distinct = {content(other): other for other in others}.values()
        values = sorted((cut(powered(report, other))[-1] for other in distinct), reverse=True)
        return values[settings["top_k"] - 1] if settings["top_k"] < len(values) else 0.0

    def cut(value):
        if value < settings["min_similarity"] - slack:
            return (0.0,)
        return (value,) if value > settings["min_similarity"] + slack else (0.0, value)

    def shaped(place, other):
        a, b = rows[place], columns[other]
        values = cut(powered(a, b))
        if settings["top_k"] is None or content(a) == content(b):
            return values
        floor = min(of_rows[place], of_columns[other])
        if values[-1] > floor + slack:
            return values
        return (0.0,) if values[-1] < floor - slack else (0.0, *values)

    if settings["top_k"] is not None:
        of_rows = [largest(report, columns) for report in rows]
        of_columns = [largest(report, rows) for report in columns]
    return [
        [policy(a, b, shaped(place, other)) for other, b in enumerate(columns)]
        for place, a in enumerate(rows)
    ]


def random_case(chance, reports):
    kind = chance.choice(["syntax", "syntax", "syntax", "semantic", "mixed"])
    if kind == "syntax":
        return random_syntax(chance, reports)
    if kind == "semantic":
        return random_semantic(chance, reports)
    parts = [random_syntax(chance, reports), random_semantic(chance, reports)]
    scales = 0.25, 0.5

    def table(rows, columns):
        tables = [part.table(rows, columns) for part in parts]
        return [
            [
                tuple(sum(map(math.prod, zip(scales, values, strict=True))) for values in choices)
                for choices in (itertools.product(*cells) for cells in zip(*lines, strict=True))
            ]
            for lines in zip(*tables, strict=True)
        ]

    similarity = MixedSimilarity(scales, tuple(part.similarity for part in parts))
    return Case(similarity, table, max(part.tolerance for part in parts))


def random_rows(chance, reports):
    """Return some reports in any order, now and then one of them twice."""
    return [chance.choice(reports) for _ in range(chance.randint(1, len(reports)))]


def check_table(table, expected, tolerance):
    for line, cells in zip(table.tolist(), expected, strict=True):
        for value, choices in zip(line, cells, strict=True):
            error = min(abs(value - choice) for choice in choices)
            assert error <= tolerance, f"got {value}, needed one of {choices}"


def check_products(operator, table, tolerance):
    """Hold everything that an operator computes to its table, which is right."""
    rows, columns = table.shape
    generator = torch.Generator().manual_seed(rows * columns)
    right = torch.rand(columns, 3, generator=generator, dtype=torch.float64)
    left = torch.rand(rows, 3, generator=generator, dtype=torch.float64)
    close = {"rtol": 0, "atol": tolerance * max(rows, columns)}
    torch.testing.assert_close(operator.matmul(right), table @ right, **close)
    torch.testing.assert_close(operator.rmatmul(left), table.T @ left, **close)
    torch.testing.assert_close(operator.row_sums(), table.sum(1), **close)
    torch.testing.assert_close(operator.column_sums(), table.sum(0), **close)
    some = torch.randint(rows, (3,), generator=generator)
    others = torch.randint(columns, (2,), generator=generator)
    chosen = operator.select(some, others)
    torch.testing.assert_close(chosen.dense(), table[some][:, others], **close)
    single = operator.to("cpu", torch.float32)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.dense().double(), table, rtol=0, atol=1e-5)


def run(seed, monkeypatch):
    chance = random.Random(seed)
    reports = random_reports(chance)
    case = random_case(chance, reports)
    with monkeypatch.context() as small:
        if chance.random() < 0.3:  # blocks of rows in place of tables, as of large batches
            small.setattr("selip_core.similarity.paths.LARGEST_TABLE", 3)
        if chance.random() < 0.3:  # no table between the values of a field
            small.setattr(import_module("selip_core.similarity.kernels.table"), "LARGEST_TABLE", 2)
        case.similarity.fit(reports)
        rows = chance.choice([reports, random_rows(chance, reports)])
        columns = chance.choice([None, random_rows(chance, reports)])
        ids = [None if side is None else [one.id for one in side] for side in (rows, columns)]
        expected = case.table(rows, rows if columns is None else columns)
        operator = case.similarity.batch(*ids, dtype=torch.float64)
        table = operator.dense()
        check_table(table, expected, case.tolerance)
        check_products(operator, table, 1e-10)
        single = case.similarity.batch(*ids).dense()
        check_table(single, expected, max(1e-4, case.tolerance))


def test_similarity_equals_double_loops(campaign, monkeypatch):
    """Similarities of reports against double loops of plain Python"""
    for seed in campaign.seeds(CASES):
        with campaign.case(seed):
            run(seed, monkeypatch)
