"""The similarity of the paper as one writes it from its formulas: loops, sets, no library.

The tests compare with it, and the benchmark measures it, in two forms: ``plain_similarity`` is the
formulas and no more; ``paper_similarity`` makes each statement's set of characters once and looks
at each pair of reports once.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Statement:
    """One statement of a report: where, what, and the characters of its words."""

    site: str
    signal: str
    characters: frozenset[str]


def statements_of(report):
    """Return the statements of a report of findings."""
    return [Statement(f.site, f.signal, frozenset(f.text)) for f in report.findings]


def score(s, t, site_weight, signal_weight):
    """Return the weighted agreement of site and signal."""
    return site_weight * (s.site == t.site) + signal_weight * (s.signal == t.signal)


def dice(s, t):
    """Return the similarity of the sets of characters."""
    both = len(s.characters & t.characters)
    return 2 * both / (len(s.characters) + len(t.characters))


def mean_over_pairs(a, b, site_weight, signal_weight):
    """Return the similarity of two reports, given as statements."""
    total = 0.0
    for s in a:
        for t in b:
            total += score(s, t, site_weight, signal_weight) * dice(s, t)
    return min(1.0, total / (len(a) * len(b)))


def paper_similarity(reports, site_weight=0.5, signal_weight=0.5):
    """Return the table of similarities: 1 on the diagonal, 0 for a report that is normal."""
    statements = [statements_of(report) for report in reports]
    table = [[0.0] * len(reports) for _ in reports]
    for i, a in enumerate(reports):
        table[i][i] = 1.0
        for j in range(i):
            if not (a.normal or reports[j].normal):
                value = mean_over_pairs(statements[i], statements[j], site_weight, signal_weight)
                table[i][j] = table[j][i] = value
    return table


def plain_similarity(reports, site_weight=0.5, signal_weight=0.5):
    """Return the same table, each entry from the formula as it stands."""

    def kernel(f, g):
        agreement = site_weight * (f.site == g.site) + signal_weight * (f.signal == g.signal)
        a, b = set(f.text), set(g.text)
        return agreement * 2 * len(a & b) / (len(a) + len(b))

    def similarity(i, j):
        a, b = reports[i], reports[j]
        if i == j:
            return 1.0
        if a.normal or b.normal:
            return 0.0
        total = sum(kernel(f, g) for f in a.findings for g in b.findings)
        return min(1.0, total / (len(a.findings) * len(b.findings)))

    count = len(reports)
    return [[similarity(i, j) for j in range(count)] for i in range(count)]
