"""Bounded random searches for failures: small in `make test`, full in `make campaigns`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RESULTS = pytest.StashKey[list[dict[str, object]]]()


class Campaign:
    """Cases of one campaign: each failure is kept, and the others still run.

    Args:
        scale: Factor on the number of cases.
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self.cases = 0
        self.failures: list[str] = []

    def seeds(self, count: int) -> range:
        """Return the seeds of ``count`` cases, times the scale."""
        return range(max(1, round(count * self.scale)))

    @contextmanager
    def case(self, name: object) -> Iterator[None]:
        """Count one case; an exception in it is a failure of the campaign, by this name."""
        self.cases += 1
        try:
            yield
        except Exception as error:
            self.failures.append(f"{name}: {type(error).__name__}: {error}")


@pytest.fixture
def campaign(request: pytest.FixtureRequest) -> Iterator[Campaign]:
    """A campaign that fails at its end, with every case that failed."""
    run = Campaign(request.config.getoption("--campaign-scale"))
    yield run
    document = request.function.__doc__ or request.node.name
    row = {
        "campaign": document.strip().splitlines()[0],
        "cases": run.cases,
        "failures": len(run.failures),
        "scale": run.scale,
        "test": request.node.nodeid,
    }
    request.config.stash.setdefault(RESULTS, []).append(row)
    if run.failures:
        shown = "\n  ".join(run.failures[:20])
        pytest.fail(f"{len(run.failures)} of {run.cases} cases failed:\n  {shown}", pytrace=False)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep what was run as a result of the benchmarks, if ``--campaign-results`` names it."""
    name, stash = session.config.getoption("--campaign-results"), session.config.stash
    if name and RESULTS in stash:
        sys.path.insert(0, str(BENCHMARKS))
        from results import write_result

        rows = sorted(stash[RESULTS], key=lambda row: str(row["test"]))
        write_result(name, {"campaigns": rows})
