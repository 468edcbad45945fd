"""What came of compiling a template, for people and for what runs next."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict

from trainmaster.budget.money import shown
from trainmaster.workspaces.images.compiling import CompiledImage, PlannedImage


class ImageResult(BaseModel):
    """An image as it is, or of a dry run as it would be. `cost` is US dollars at most for making it, 0 where nothing is built."""

    model_config = ConfigDict(frozen=True)

    template: str
    fingerprint: str
    steps: list[str]
    cost: Decimal | None = None
    recipe: str = ""
    note: str = ""
    image_version_arn: str = ""
    ami_id: str = ""
    dry_run: bool = False

    def sentence(self) -> str:
        named = f"The image of {self.template} ({self.fingerprint})"
        if not self.steps:
            return f"{named} is made already: {self.image or 'nothing is to be done'}."
        if not self.dry_run:
            return f"{named} is made: {self.image}."
        if not self.cost:
            return f"{named} is built already; what is left to do costs nothing. Nothing was done."
        return f"Making the image of {self.template} ({self.fingerprint}) would cost {shown(self.cost)} at most. Nothing was done."

    @property
    def image(self) -> str:
        """As AWS calls it."""
        return self.image_version_arn or self.ami_id

    def table(self) -> list[dict[str, Any]]:
        """A row for each thing there is to know."""
        return [{"what": what, "value": value} for what, value in self._facts() if value]

    def _facts(self) -> Iterator[tuple[str, str]]:
        yield "template", self.template
        yield "fingerprint", self.fingerprint
        yield "image", self.image
        yield "costs at most", shown(self.cost) if self.cost is not None else ""
        for number, step in enumerate(self.steps, 1):
            yield f"step {number}", step
        yield "note", self.note


def planned_result(plan: PlannedImage) -> ImageResult:
    """Of what would be made."""
    waits = f"Domain {plan.domain} is not there yet; the image is attached to it with the first workspace." if plan.domain else ""  # fmt: skip
    return ImageResult(
        template=plan.template,
        fingerprint=plan.fingerprint,
        steps=[step.sentence() for step in plan.steps],
        cost=plan.cost,
        recipe=plan.recipe,
        note=" ".join(filter(None, (plan.note, waits))),
        dry_run=True,
    )


def compiled_result(compiled: CompiledImage) -> ImageResult:
    """Of what workspaces can start from."""
    return ImageResult(
        template=compiled.image.template,
        fingerprint=compiled.image.fingerprint,
        steps=[step.sentence() for step in compiled.steps],
        image_version_arn=compiled.image.image_version_arn,
        ami_id=compiled.image.ami_id,
    )
