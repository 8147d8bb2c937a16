"""One embedding of all sequences of an examination."""

from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad

from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.options import require_rates
from selip_core.encoders.spec import ImageEncoderSpec
from selip_core.encoders.study_batch import StudyBatch, collate_studies
from selip_core.encoders.study_checks import check_batch
from selip_core.encoders.study_input import SEQUENCES, Study, checked_sequences
from selip_core.encoders.transformer import transformer
from selip_core.errors import DataError
from selip_core.pretrained import PretrainedModule

SMALL = 0.02
"""Standard deviation of embeddings at the start, as transformers have it."""


class StudyEmbedding(NamedTuple):
    """What one pass gives.

    Attributes:
        study: One embedding a study, of all its sequences together.
        sequences: The image encoder's embedding of each volume alone; 0 where there is none.
        mask: True where a sequence was seen: in training, those dropped were not.
    """

    study: Float[Tensor, "b embed_dim"]
    sequences: Float[Tensor, "b s embed_dim"]
    mask: Bool[Tensor, "b s"]


@final
class StudyEncoder(PretrainedModule):
    """Studies of any number of sequences of different kinds, to one embedding each.

    Each volume that there is goes through the image encoder, the same for all kinds. To its
    embedding an embedding of the kind is added, and a study token attends to the sequences of its
    study in transformer layers. The order of the sequences does not matter, nor how far the batch
    is padded, and a missing sequence costs nothing.

    The image encoder is called once for every size of volume in the batch. With several processes
    that talk to each other inside it (FSDP, synchronised batch normalisation), all must call it
    equally often, or they wait for each other for ever: bring the volumes to one size, as
    :class:`~selip_core.data.Preprocessing` does, and it is one call.

    It takes a list of studies, or the :class:`StudyBatch` that :func:`collate_studies` makes of it
    in a data loader, and gives one tensor: so it is an image encoder to
    :class:`~selip_core.dual_encoder.DualEncoder`.

    Args:
        image_encoder: Encoder of one volume.
        sequences: Kinds of sequence that are told apart. All others are one kind more, "other": if
            training has none of them, that kind's embedding stays 0 and says nothing.
        layers: Transformer layers over the sequences.
        heads: Attention heads; must divide the encoder's ``embed_dim``.
        sequence_dropout: Probability with which a sequence is left out in training, in ``[0, 1)``.
            One of each study always stays, and all of a batch in which batch normalisation would
            else be trained on one value. For where examinations are often incomplete; what is left
            out is not encoded, so training is faster too.

    Raises:
        ValueError: If an argument is out of its range, if ``image_encoder`` is not one, or if
            ``sequences`` are not one or more different names other than "other".

    Example:
        >>> import torch
        >>> from selip_core import StudyEncoder, create_image_encoder
        >>> encoder = StudyEncoder(create_image_encoder("resnet10", embed_dim=32, width=0.25))
        >>> volume = torch.zeros(1, 8, 32, 32)
        >>> studies = [{"T1": volume, "FLAIR": volume}, {"DWI": volume}]
        >>> encoder(studies).shape
        torch.Size([2, 32])
        >>> encoder.embed(studies).sequences.shape
        torch.Size([2, 2, 32])
    """

    def __init__(
        self,
        image_encoder: ImageEncoder,
        sequences: Sequence[str] = SEQUENCES,
        layers: int = 1,
        heads: int = 8,
        sequence_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check_options(image_encoder, sequence_dropout)
        self.image_encoder = image_encoder
        self.embed_dim = image_encoder.embed_dim
        self.sequences = checked_sequences(sequences)
        self.sequence_dropout = sequence_dropout
        self.kind_embedding = nn.Embedding(len(self.sequences) + 1, self.embed_dim)
        self.study_token = nn.Parameter(SMALL * torch.randn(self.embed_dim))
        self.attention = transformer(self.embed_dim, layers, heads)
        self.projection = nn.Linear(self.embed_dim, self.embed_dim)
        nn.init.normal_(self.kind_embedding.weight, std=SMALL)
        nn.init.zeros_(self.kind_embedding.weight[-1])

    def forward(self, studies: StudyBatch | Sequence[Study]) -> Float[Tensor, "b embed_dim"]:
        """Return one embedding a study, not normalised.

        Raises:
            ValueError: As :meth:`embed`.
        """
        return self.embed(studies).study

    def embed(self, studies: StudyBatch | Sequence[Study]) -> StudyEmbedding:
        """Return the embeddings of the studies and of each sequence alone, in one pass.

        Raises:
            ValueError: If ``studies`` is neither a batch nor a list of studies, or if the batch was
                collated with other sequences than the encoder's.
            DataError: Of all studies without a sequence, kinds out of their range and volumes that
                the image encoder does not take, by where they stand.
        """
        if not isinstance(studies, StudyBatch):
            studies = collate_studies(studies, self.sequences).to(self.study_token.device)
        self._check_sequences(studies)
        if not torch.compiler.is_compiling():
            check_batch(studies, self.image_encoder)
        if self.training and self.sequence_dropout > 0:
            studies = self._drop(studies)
        sequences = self._encode_volumes(studies)
        return StudyEmbedding(self._attend(sequences, studies), sequences, studies.mask)

    def _drop(self, studies: StudyBatch) -> StudyBatch:
        kept = studies.only(_sequences_to_keep(studies.mask, self.sequence_dropout))
        if not torch.compiler.is_compiling():
            try:
                check_batch(kept, self.image_encoder)
            except DataError:  # what is left is one value, and all together were none
                return studies
        return kept

    def _encode_volumes(self, studies: StudyBatch) -> Float[Tensor, "b s embed_dim"]:
        embeddings = torch.cat([self.image_encoder(volumes) for volumes in studies.volumes])
        nothing = embeddings.new_zeros(studies.mask.numel(), self.embed_dim)
        everywhere = nothing.index_copy(0, torch.cat(studies.places), embeddings)
        return everywhere.reshape(*studies.mask.shape, -1)

    def _check_sequences(self, studies: StudyBatch) -> None:
        collated = tuple(studies.sequences)  # a list where pinning has rebuilt it
        if collated != self.sequences:
            raise ValueError(
                f"the batch must be of the encoder's sequences {self.sequences}, got {collated}: "
                "collate with partial(collate_studies, sequences=encoder.sequences)"
            )

    def _attend(
        self, sequences: Float[Tensor, "b s embed_dim"], studies: StudyBatch
    ) -> Float[Tensor, "b embed_dim"]:
        token = self.study_token.expand(len(sequences), 1, -1)
        tokens = torch.cat([token, sequences + self.kind_embedding(studies.kinds)], dim=1)
        missing = pad(~studies.mask, (1, 0), value=False)
        seen = self.attention(tokens, src_key_padding_mask=missing)[:, 0]
        return self.projection(seen)  # type: ignore[no-any-return]


def _check_options(image_encoder: ImageEncoder, dropout: float) -> None:
    # By its spec and not by its class, which torch.compile hides.
    if not isinstance(getattr(image_encoder, "spec", None), ImageEncoderSpec):
        raise ValueError(
            "image_encoder must be an ImageEncoder, as create_image_encoder makes one, got "
            f"{type(image_encoder).__name__}"
        )
    require_rates(sequence_dropout=dropout)


def _sequences_to_keep(mask: Bool[Tensor, "b s"], dropout: float) -> Bool[Tensor, "b s"]:
    chances = torch.rand(mask.shape, device=mask.device).masked_fill(~mask, -1.0)
    # The luckiest sequence of a study stays in any case.
    return mask & ((chances >= dropout) | (chances == chances.amax(dim=1, keepdim=True)))
