"""Which gradients somebody wants: a frozen tower or a fixed scale wants none."""

from dataclasses import dataclass
from typing import Any, Self, final

from jaxtyping import Float
from torch import Tensor


@final
@dataclass(frozen=True)
class Wanted:
    """What a backward is asked for.

    Attributes:
        images: Whether the image features take a gradient.
        texts: Whether the text features do.
        logit_scale: Whether the scale does.
    """

    images: bool
    texts: bool
    logit_scale: bool

    @classmethod
    def of(cls, ctx: Any) -> Self:
        """Return what the context of an autograd node says of its first three inputs."""
        return cls(*ctx.needs_input_grad[:3])

    @property
    def of_images(self) -> bool:
        """Whether the products with texts are computed; the scale needs those of one side."""
        return self.images or not self.texts

    @property
    def of_texts(self) -> bool:
        """Whether the products with images are computed."""
        return self.texts

    def scale_gradient(
        self,
        images: Float[Tensor, "n d"],
        texts: Float[Tensor, "m d"],
        image_products: Float[Tensor, "n d"],
        text_products: Float[Tensor, "m d"],
    ) -> Float[Tensor, ""]:
        """Return ``sum(I * (G T)) = sum(T * (G' I))``, of the side that there is; 0 if unwanted."""
        if not self.logit_scale:
            return image_products.new_zeros(())
        if self.of_images:
            return (images * image_products).sum()
        return (texts * text_products).sum()

    def only(self, images: Tensor, texts: Tensor, logit_scale: Tensor) -> tuple[Tensor | None, ...]:
        """Return these gradients, None in place of those that nobody wants."""
        return (
            images if self.images else None,
            texts if self.texts else None,
            logit_scale if self.logit_scale else None,
        )
