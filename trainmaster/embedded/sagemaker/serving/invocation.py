"""What InvokeEndpoint carries to a model, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Invocation:
    """One request for a prediction; an empty `content_type` or `accept` means the client sent none."""

    body: bytes
    content_type: str = ""
    accept: str = ""
    target_variant: str | None = None
    custom_attributes: str | None = None
    inference_id: str | None = None


@dataclass(frozen=True)
class InvocationAnswer:
    """What the model answered, and the variant that did."""

    body: bytes
    content_type: str
    invoked_variant: str
    custom_attributes: str | None = None
