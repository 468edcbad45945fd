"""What is to be known of a kind of model to deploy it, prove it and register it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from trainmaster.endpoints.models.code import Container
from trainmaster.training.trainers import Framework


@dataclass(frozen=True)
class Example:
    """What the training held out, and what its model answered there: a price, or a text."""

    inputs: Mapping[str, Any] = field(hash=False)
    answered: Any = field(hash=False)


class Agreement(BaseModel):
    """How near the endpoint's answers are to what the training's own model answered; `examples` is 0 where it left none."""

    model_config = ConfigDict(frozen=True)

    examples: int
    furthest: float = 0.0
    """How far the answer that differs most is off: US dollars of a price; texts are the same or refused."""
    said: str = "not checked: the artifact has no smoke_test.json; it answers in the right form and range"

    def sentence(self) -> str:
        return self.said


class Kind(Protocol):
    """One kind of model. Whatever takes a card takes one that `card_problem` found nothing wrong with."""

    name: str
    framework: Framework
    """Whose container of AWS serves it."""
    container: Container
    content_types: Sequence[str]
    longest_milliseconds: float
    """Half of the answers may take longer: the first ones of a container do."""
    environment: Mapping[str, str]
    """Of its container, beside what every model's has."""
    hosting: Mapping[str, int]
    """What each of its variants on instances is told besides."""
    trains_where_it_serves: bool
    """Whether the container it is trained in serves it as well."""
    wanted_examples: str
    """What smoke_test.json must list, for who left something else there."""

    def card_problem(self, card: Mapping[str, Any], names: Collection[str]) -> str | None:
        """What is missing of its card, or of the files that it speaks of; a clause that begins with a verb."""

    def sample(self, card: Mapping[str, Any]) -> dict[str, Any]:
        """A typical request."""

    def examples(self, card: Mapping[str, Any], said: Any) -> tuple[Example, ...] | None:
        """Those that smoke_test.json says; None where it cannot be asked for one of them."""

    def implausible(self, answer: Mapping[str, Any], card: Mapping[str, Any]) -> str | None:
        """What is wrong with an answer, or None."""

    def agreement(self, subject: str, examples: Sequence[Example], answers: Sequence[Mapping[str, Any]]) -> Agreement:
        """Raises DeploymentFailedError where the answers are not those of the training's model."""

    def needed_gib(self, card: Mapping[str, Any], *, on_gpus: bool) -> float:
        """Memory of an instance, or of its GPUs together; 0 for a model that any instance holds."""

    def uses(self, card: Mapping[str, Any]) -> str:
        """What it is for, in a sentence."""

    def quality(self, metrics: Mapping[str, float]) -> dict[str, Any]:
        """Its metrics as the registry's quality report has them."""
