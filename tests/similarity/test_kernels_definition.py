"""Kernels as JSON, in pickles for workers, as keys, and as they are written."""

import json
import pickle

import pytest

from selip_core.similarity import closeness, dice, embedding, exact, fuzzy, ordered, synonyms
from selip_core.similarity.kernels import FieldKernel
from selip_core.similarity.kernels.definition import definition, kernel_from


def encode(texts):
    return [[1.0] for _ in texts]


KERNELS = [
    exact("site", missing="leave_out"),
    exact(("site", "signal")),
    dice("text", 2, missing="neutral"),
    fuzzy("site", "JaroWinkler", cutoff=0.5),
    closeness("extent", 5),
    closeness("extent", "5 mm", missing="nothing"),
    ordered("signal", ["low", "iso", "high"]),
    synonyms("signal", {"high": ["bright"], "low": ["dark"]}),
    embedding(("site", "signal"), "all-MiniLM-L6-v2"),
    (0.5 * exact("site") + 0.25 * dice("text") ** 2) * fuzzy("site", "WRatio"),
    0.5 * (exact("a") + exact("b") + exact("c")) ** 1.5,
]


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_goes_through_json_and_pickle(kernel):
    saved = json.loads(json.dumps(definition(kernel)))
    restored = kernel_from(saved)
    assert restored == kernel
    assert hash(restored) == hash(kernel)
    assert str(restored) == str(kernel)
    assert definition(restored) == saved
    assert pickle.loads(pickle.dumps(kernel)) == kernel
    assert restored != exact("other")


def test_is_written_as_it_is_built():
    assert [str(kernel) for kernel in KERNELS[:5]] == [
        "exact('site', missing='leave_out')",
        "exact(('site', 'signal'))",
        "dice('text', ngram=2, missing='neutral')",
        "fuzzy('site', scorer='JaroWinkler', cutoff=0.5)",
        "closeness('extent', scale=5.0)",
    ]
    assert str(embedding("site", encode)).endswith(".encode>)")


def test_a_callable_is_named_and_not_restored():
    kernel = 0.5 * exact("site") + 0.5 * embedding("text", encode)
    saved = definition(kernel)
    encoder = saved["terms"][1]["kernel"]["encoder"]
    assert encoder["restorable"] is False
    assert encoder["callable"].endswith("encode")
    with pytest.raises(ValueError, match=r"^\$\.terms\[1\]\.kernel\.encoder: .*cannot be restored"):
        kernel_from(saved)


class Mine(FieldKernel):
    def prepare(self, values):
        return {}

    def known(self, values, a, b, dtype):
        raise NotImplementedError


SITE = {"kind": "exact", "field": "site"}


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (definition(Mine("x")), r"\$: needed .* one of \['closeness', 'dice', .*got '.*Mine'"),
        ({"field": "x"}, r"\$: needed a finding kernel, an object whose kind .*got dict"),
        ("exact", r"\$: needed a finding kernel.* got str"),
        ({"kind": ["exact"]}, r"\$: needed a finding kernel"),
        ({"kind": "power", "gamma": 2, "kernel": {"kind": "odd"}}, r"\$\.kernel: .*got 'odd'"),
        ({**SITE, "case": 1}, r"\$: exact has no argument \['case'\]; it has \['field', 'missing'"),
        ({"kind": "exact"}, r"\$: exact: .*missing 1 required .*'field'"),
        ({**SITE, "missing": "odd"}, r"\$: exact: missing must be one of"),
        ({"kind": "dice", "field": "x", "ngram": "2"}, r"\$: dice: ngram must be a whole number"),
        ({"kind": "dice", "field": "x", "ngram": None}, r"\$: dice: "),
        ({"kind": "fuzzy", "field": "x", "scorer": "odd"}, r"\$: fuzzy: scorer must be"),
        ({"kind": "scaled", "scale": 1, "kernel": "site"}, r"\$: scaled must be made of"),
        ({"kind": "sum", "terms": [SITE, 3]}, r"\$: sum must be made of finding kernels"),
        ({"kind": "sum", "terms": 3}, r"\$: sum: "),
        ({"kind": "sum", "terms": []}, r"\$: sum: .*at least one term"),
    ],
)
def test_what_cannot_be_restored_says_where_and_why(saved, message):
    with pytest.raises(ValueError, match=message):
        kernel_from(saved)
