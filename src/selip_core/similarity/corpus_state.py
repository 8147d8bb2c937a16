"""A corpus in the form in which it is saved."""

import hashlib
import itertools
import json
from typing import TypeAlias

import torch

from selip_core.similarity.corpus import Corpus, Fields
from selip_core.similarity.kernels import FieldValues, FindingKernel
from selip_core.similarity.packed_strings import PackedStrings, check_offsets
from selip_core.similarity.saving import State

_Words: TypeAlias = dict[Fields, "PackedStrings"]


def corpus_state(corpus: Corpus) -> State:
    """Return the tensors of a corpus; values that kernels have prepared are not made again.

    Example:
        >>> from selip_core import Finding, Report
        >>> from selip_core.similarity import exact
        >>> from selip_core.similarity.corpus import CorpusBuilder
        >>> builder = CorpusBuilder(exact("site"))
        >>> _ = builder.add(Report(id="a", findings=[Finding(site="pons")]))
        >>> state = corpus_state(builder.build())
        >>> sorted(state.tensors)
        ['codes.0', 'findings', 'offsets', 'strings.0.offsets', 'strings.0.text']
        >>> restored_corpus(exact("site"), state).sizes
        tensor([1])
    """
    tensors = {"offsets": corpus.offsets, "findings": corpus.findings}
    for place, read in enumerate(_reads(corpus.kernel)):
        strings = PackedStrings.of(_strings(corpus, read))
        tensors[f"codes.{place}"] = corpus.codes[read]
        tensors[f"strings.{place}.text"] = strings.text
        tensors[f"strings.{place}.offsets"] = strings.offsets
    for place, leaf in enumerate(corpus.kernel.leaves):
        for name, tensor in corpus.values[leaf].tensors.items():
            tensors[f"values.{place}.{name}"] = tensor
    encoders = {
        f"values.{place}": {"encoder": corpus.values[leaf].encoder}
        for place, leaf in enumerate(corpus.kernel.leaves)
        if corpus.values[leaf].encoder is not None
    }
    return State(tensors, {"kernel": str(corpus.kernel), **encoders})


def restored_corpus(kernel: FindingKernel, state: State) -> Corpus:
    """Return the corpus of a state, looked at before it is used.

    Raises:
        ValueError: If its parts do not fit each other.
    """
    strings: _Words = {}
    for place, read in enumerate(_reads(kernel)):
        text = state.tensor(f"strings.{place}.text", torch.uint8, (None,))
        offsets = state.tensor(f"strings.{place}.offsets", torch.int64, (None,))
        strings[read] = PackedStrings(text, offsets)
    distinct = state.tensor("codes.0", torch.int32, (None,)).shape[0]
    codes = {
        read: state.codes(f"codes.{place}", distinct, -1, len(strings[read]), torch.int32)
        for place, read in enumerate(_reads(kernel))
    }
    findings = state.codes("findings", None, 0, distinct)
    offsets = state.tensor("offsets", torch.int64, (None,))
    check_offsets(offsets, findings.shape[0], "contents")
    values = {
        leaf: _values(strings[leaf.fields], state.part(f"values.{place}"))
        for place, leaf in enumerate(kernel.leaves)
    }
    for leaf, of_leaf in values.items():
        leaf.check(of_leaf)
    return Corpus(kernel, offsets, findings, codes, values)


def content_digests(corpus: Corpus) -> list[bytes]:
    """Return, for each content, a digest of the words of its findings, whatever their order."""
    reads = _reads(corpus.kernel)
    words = {read: [*_strings(corpus, read), None] for read in reads}
    columns = [[words[read][code] for code in corpus.codes[read].tolist()] for read in reads]
    digests = [
        hashlib.sha256(json.dumps(finding).encode()).digest()
        for finding in zip(*columns, strict=True)
    ]
    offsets, findings = corpus.offsets.tolist(), corpus.findings.tolist()
    return [
        hashlib.sha256(b"".join(sorted(digests[f] for f in findings[start:stop]))).digest()
        for start, stop in itertools.pairwise(offsets)
    ]


def _values(strings: PackedStrings, state: State) -> FieldValues:
    encoder = state.facts.get("encoder")
    if not isinstance(encoder, str | None):
        raise ValueError(f"the identity of an encoder must be a string, got {encoder!r}")
    return FieldValues(strings, state.tensors, encoder)


def _reads(kernel: FindingKernel) -> tuple[Fields, ...]:
    return tuple(dict.fromkeys(leaf.fields for leaf in kernel.leaves))


def _strings(corpus: Corpus, read: Fields) -> list[str]:
    leaf = next(leaf for leaf in corpus.kernel.leaves if leaf.fields == read)
    return list(corpus.values[leaf].strings)
