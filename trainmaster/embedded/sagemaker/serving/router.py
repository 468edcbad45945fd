"""The way of an invocation to whatever fleet serves its endpoint at that moment."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from fractions import Fraction

from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.serving import answers
from trainmaster.embedded.sagemaker.serving.capture import Captures, Exchange
from trainmaster.embedded.sagemaker.serving.fleet import (
    Fleet,
    FleetClosedError,
    NoInstanceError,
    TooManyAtOnceError,
    UnknownVariantError,
)
from trainmaster.embedded.sagemaker.serving.instance import Answer, InvocationTimeoutError, NoAnswerError
from trainmaster.embedded.sagemaker.serving.invocation import Invocation, InvocationAnswer
from trainmaster.embedded.sagemaker.serving.metrics import InvocationMetrics
from trainmaster.embedded.sagemaker.serving.shadows import Shadows
from trainmaster.embedded.sagemaker.wire import AwsError

MODEL_SECONDS = 60.0
"""How long a model may take over one invocation, as on AWS."""
RECOVERY_SECONDS = 55.0
"""How long an invocation waits for an endpoint that comes back after a restart; clients give up after 60."""

SWITCHES = 3
"""How many times an invocation may find that its fleet has just been replaced."""


class Router:
    """Safe to share between threads."""

    def __init__(self, account: Account, model_seconds: float = MODEL_SECONDS) -> None:
        self._account, self._model_seconds = account, model_seconds
        self.metrics = InvocationMetrics()
        self._captures, self._shadows = Captures(account.s3), Shadows(self._copied)
        self._changed = threading.Condition()
        self._fleets: dict[str, Fleet] = {}
        self._coming: dict[str, tuple[Fleet, float]] = {}
        self._expected: set[str] = set()
        self._closed = False

    def expect(self, name: str) -> None:
        """Until `serve` or `remove`, invocations of this endpoint wait instead of being refused."""
        with self._changed:
            self._expected.add(name)

    def fleet(self, name: str) -> Fleet | None:
        with self._changed:
            return self._fleets.get(name)

    def serve(self, name: str, fleet: Fleet) -> Fleet | None:
        """From now on invocations go to this fleet; the one they went to before, for the caller to close."""
        with self._changed:
            if self._closed:
                return fleet
            before = self._fleets.get(name)
            self._fleets[name] = fleet
            self._coming.pop(name, None)
            self._expected.discard(name)
            self._changed.notify_all()
            return before

    def shift(self, name: str, coming: Fleet, share: Fraction) -> None:
        """From now on this share of the invocations goes to a second fleet, until `serve` or `withdraw`."""
        with self._changed:
            if not self._closed:
                self._coming[name] = coming, float(share)

    def withdraw(self, name: str) -> None:
        """Send all invocations to the first fleet again."""
        with self._changed:
            self._coming.pop(name, None)

    def remove(self, name: str) -> list[Fleet]:
        """Refuse the endpoint's invocations; the fleets they went to, for the caller to close."""
        with self._changed:
            self._expected.discard(name)
            self._changed.notify_all()
            return self._popped(name)

    def close(self) -> list[Fleet]:
        """Refuse all, write what was captured; the fleets, for the caller to close."""
        with self._changed:
            self._closed = True
            fleets = [fleet for name in list(self._fleets) for fleet in self._popped(name)]
            self._expected.clear()
            self._changed.notify_all()
        self._shadows.close()
        self._captures.close()
        return fleets

    def _popped(self, name: str) -> list[Fleet]:
        coming, _ = self._coming.pop(name, (None, 0.0))
        return [fleet for fleet in (self._fleets.pop(name, None), coming) if fleet]

    def invoke(self, name: str, invocation: Invocation) -> InvocationAnswer:
        """Raises AwsError: ValidationError, ModelError with the model's own status and body, ServiceUnavailable."""
        began = time.perf_counter()
        answers.check_size(invocation)
        request = ("POST", "/invocations", invocation.body, answers.headers(invocation))
        for _ in range(SWITCHES):
            fleet = self._serving(name)
            for shadow in fleet.shadows():
                self._shadows.send(fleet, shadow, name, invocation)
            try:
                answer, variant = fleet.send(request, variant=invocation.target_variant, timeout=self._model_seconds)
            except FleetClosedError:
                continue  # another has taken its place since we looked
            except UnknownVariantError as error:
                raise answers.unknown_variant(name, str(error)) from None
            except NoInstanceError:
                raise answers.unavailable(name) from None
            except TooManyAtOnceError as error:
                raise answers.throttled(name, str(error)) from None
            except NoAnswerError as error:
                self._count(name, error.variant, fleet, began, Answer(0, {}, b"", error.seconds))
                timed_out = isinstance(error, InvocationTimeoutError)
                message = answers.TIMED_OUT if timed_out else answers.CRASHED.format(endpoint=name)
                raise answers.model_error(self._account, name, 0, message) from None
            self._count(name, variant, fleet, began, answer)
            answered = answers.answered(self._account, name, answer, variant)
            self._capture(fleet, name, invocation, answered)
            return answered
        raise answers.unavailable(name)

    def _copied(self, fleet: Fleet, shadow: str, name: str, invocation: Invocation) -> None:
        """Let a shadow variant answer as well: nobody waits for that, it is counted and captured only."""
        began = time.perf_counter()
        request = ("POST", "/invocations", invocation.body, answers.headers(invocation))
        try:
            answer, _ = fleet.send(request, variant=shadow, timeout=self._model_seconds, shadow=True)
        except NoAnswerError as error:
            answer = Answer(0, {}, b"", error.seconds)
        except (FleetClosedError, NoInstanceError):
            return  # it is going, or coming back: a copy is no great loss
        self._count(name, shadow, fleet, began, answer)
        with suppress(AwsError):  # the shadow's error: its metrics say so
            self._capture(fleet, name, invocation, answers.answered(self._account, name, answer, shadow))

    def _capture(self, fleet: Fleet, name: str, invocation: Invocation, answer: InvocationAnswer) -> None:
        if fleet.capture:
            self._captures.note(
                fleet.capture,
                Exchange(
                    name, answer.invoked_variant, invocation.body, invocation.content_type, answer.body,
                    answer.content_type, invocation.inference_id, invocation.custom_attributes,
                ),
            )  # fmt: skip

    def _count(self, name: str, variant: str, fleet: Fleet, began: float, answer: Answer) -> None:
        self.metrics.count(
            name, variant,
            status=answer.status, model_seconds=answer.seconds, instances=fleet.living(variant),
            overhead_seconds=max(time.perf_counter() - began - answer.seconds, 0.0),
        )  # fmt: skip

    def _serving(self, name: str) -> Fleet:
        with self._changed:
            self._changed.wait_for(lambda: name not in self._expected, RECOVERY_SECONDS)
            if self._closed or name in self._expected:
                raise answers.unavailable(name)
            fleet = self._fleets.get(name)
            coming, share = self._coming.get(name, (None, 0.0))
        if fleet is None:
            raise answers.not_serving(self._account, name)
        return coming if coming and random.random() < share else fleet  # noqa: S311  # traffic, not a secret
