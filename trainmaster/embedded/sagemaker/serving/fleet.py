"""All instances of one deployment of an endpoint: traffic among them, replacement of the dead, resizing, draining."""

from __future__ import annotations

import logging
import random
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.namespaces import Isolation
from trainmaster.embedded.sagemaker.serving.artifact import DeploymentError, ModelFiles
from trainmaster.embedded.sagemaker.serving.instance import SIGTERM_SECONDS, Answer, Instance, InstanceGoneError
from trainmaster.embedded.sagemaker.serving.plan import VariantPlan
from trainmaster.embedded.sagemaker.wire import Json

LONGEST_PAUSE = 30.0
"""Seconds between two attempts to replace an instance that keeps dying; the first attempt is immediate."""
DRAIN_SECONDS = 65.0
"""The longest an invocation may take, and a little."""
STABLE_SECONDS = 60.0
"""An instance that served this long did not die of starting."""

Request = tuple[str, str, bytes, dict[str, str]]


class FleetClosedError(Exception):
    """Raised when the fleet takes no more requests: another has taken its place, or the endpoint is gone."""


class NoInstanceError(Exception):
    """Raised when no instance of the variants asked for is alive."""


class TooManyAtOnceError(Exception):
    """Raised when a serverless variant has as many requests under way as it takes."""


class UnknownVariantError(Exception):
    """Raised when the fleet has no variant of that name."""


class Variant:
    def __init__(self, plan: VariantPlan, files: ModelFiles) -> None:
        self.plan, self.files = plan, files
        self.serving: list[Instance] = []
        self.deaths = 0
        """In a row, without STABLE_SECONDS in between."""


class Fleet:
    """Safe to share between threads. `start`, `resize` and `close` are called one at a time."""

    def __init__(
        self, account: Account, isolation: Isolation, endpoint: str, plans: Iterable[VariantPlan], folder: Path,
        *, capture: Json | None = None,
    ) -> None:  # fmt: skip
        self.capture = capture
        """The config's DataCaptureConfig; None where nothing is captured."""
        self._account, self._isolation, self._endpoint = account, isolation, endpoint
        self._folder = folder / uuid4().hex[:8]
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._running: set[Instance] = set()
        """Every instance that has a process, those starting up and draining included."""
        self._replacing: set[threading.Thread] = set()
        self._variants = {
            plan.name: Variant(plan, ModelFiles(plan, self._folder / plan.name / "source")) for plan in plans
        }

    def start(self) -> None:
        """Return when every instance is healthy. Raises DeploymentError, and leaves nothing running, when one is not."""
        try:
            for variant in self._variants.values():
                variant.files.fetch(self._account.s3)
            self._add({variant.plan.name: variant.plan.instances for variant in self._variants.values()})
        except BaseException:
            self.close(drain_seconds=0, grace=0)
            raise

    def shadows(self) -> list[str]:
        """The shadow variants one request is to be copied to: by chance, as their weights are to the production variant's."""
        with self._changed:
            plans = [variant.plan for variant in self._variants.values()]
        total = sum(plan.weight for plan in plans if not plan.shadow) or 1.0
        return [plan.name for plan in plans if plan.shadow and random.random() * total < plan.weight]  # noqa: S311  # a sample

    def send(
        self, request: Request, *, variant: str | None, timeout: float, shadow: bool = False
    ) -> tuple[Answer, str]:
        """The answer and the variant that gave it. An instance that dies of the request, or before it, is asked no second time; one other is.

        Raises FleetClosedError, NoInstanceError, UnknownVariantError, TooManyAtOnceError, NoAnswerError.
        """
        method, path, body, headers = request
        gone: InstanceGoneError | None = None
        tried: Instance | None = None
        for _ in range(2):
            try:
                instance = self._acquired(variant, tried, shadow)
            except NoInstanceError:
                break
            try:
                return instance.request(method, path, body, headers, timeout=timeout), instance.variant
            except InstanceGoneError as error:
                tried = instance
                if error.ended:
                    self._bury(instance)  # sooner than its own thread notices
                else:
                    gone = error
            finally:
                with self._changed:
                    instance.requests -= 1
                    self._changed.notify_all()
        raise gone or NoInstanceError(self._endpoint)

    def living(self, variant: str) -> int:
        """How many instances of the variant take requests now."""
        with self._changed:
            return len(self._variants[variant].serving)

    def resize(self, plans: Iterable[VariantPlan]) -> None:
        """Take over weights and instance counts while serving. Raises DeploymentError, changing nothing, when an instance does not start."""
        wanted = {plan.name: plan for plan in plans}
        with self._changed:
            more = {name: max(0, plan.instances - self._variants[name].plan.instances) for name, plan in wanted.items()}
        self._add(more)
        with self._changed:
            for name, plan in wanted.items():
                self._variants[name].plan = plan
        for name in wanted:
            self._trim(self._variants[name])

    def close(self, *, drain_seconds: float, grace: float = SIGTERM_SECONDS) -> None:
        """Take no more requests, let those under way finish for up to `drain_seconds`, stop every process, remove the folder."""
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
            for variant in self._variants.values():
                variant.serving.clear()
            instances, replacing = list(self._running), list(self._replacing)
            self._wait_until_idle(instances, drain_seconds)
        stopping = [threading.Thread(target=self._stop, args=(instance, grace)) for instance in instances]
        for thread in stopping:
            thread.start()
        for thread in [*stopping, *replacing]:
            thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)  # what another user of a container wrote may not be ours

    def _acquired(self, variant: str | None, avoided: Instance | None, shadow: bool) -> Instance:
        with self._changed:
            if self._closing.is_set():
                raise FleetClosedError(self._endpoint)
            variants = {name: one for name, one in self._variants.items() if one.plan.shadow == shadow}
            if variant is not None and variant not in variants:
                raise UnknownVariantError(variant)
            candidates = [variants[variant]] if variant else [v for v in variants.values() if v.plan.weight]
            able = [(v, [one for one in v.serving if one is not avoided]) for v in candidates]
            able = [(v, instances) for v, instances in able if instances]
            if not able:
                raise NoInstanceError(self._endpoint)
            weights = [v.plan.weight or 1.0 for v, _ in able]  # a variant of weight 0 is here when it was asked for
            [(chosen, instances)] = random.choices(able, weights)  # noqa: S311  # traffic, not a secret
            at_once = chosen.plan.serverless.get("MaxConcurrency")
            if at_once and sum(one.requests for one in chosen.serving) >= at_once:
                raise TooManyAtOnceError(chosen.plan.name)
            random.shuffle(instances)
            instance = instances[0] if chosen.plan.random_routing else min(instances, key=lambda one: one.requests)
            instance.requests += 1
            return instance

    def _add(self, counts: dict[str, int]) -> None:
        """Start so many more instances of each variant; they take requests when all are healthy. All or none."""
        started: list[Instance] = []
        try:
            for name, count in counts.items():
                for _ in range(count):
                    started.append(self._launched(self._variants[name]))  # noqa: PERF401  # those before one that fails are stopped
            for instance in started:
                instance.wait_until_healthy()
            with self._changed:
                if self._closing.is_set():
                    raise FleetClosedError(self._endpoint)
                for instance in started:
                    instance.check_alive()
                for instance in started:
                    self._variants[instance.variant].serving.append(instance)
        except BaseException:
            for instance in started:
                self._stop(instance, grace=0)
            raise

    def _launched(self, variant: Variant) -> Instance:
        instance = Instance(
            self._account, self._endpoint, variant.plan, variant.files,
            isolation=self._isolation, folder=self._folder / variant.plan.name, ended=self._bury,
        )  # fmt: skip
        with self._changed:
            closing = self._closing.is_set()
            if not closing:
                self._running.add(instance)
        if closing:
            instance.stop(0)
            raise FleetClosedError(self._endpoint)
        return instance

    def _stop(self, instance: Instance, grace: float) -> None:
        with self._changed:
            self._running.discard(instance)
        instance.stop(grace)

    def _bury(self, instance: Instance) -> None:
        """Called once or twice when an instance's process has ended by itself."""
        variant = self._variants[instance.variant]
        with self._changed:
            if instance not in variant.serving:
                return  # starting up or draining: whoever does that sees to it
            variant.serving.remove(instance)
            variant.deaths = 1 if instance.served_seconds > STABLE_SECONDS else variant.deaths + 1
            _log.warning("Instance %s of %s ended by itself; another takes its place.", instance.id, self._endpoint)
            thread = threading.Thread(target=self._replace, args=(variant, instance), daemon=True)
            self._replacing.add(thread)
            thread.start()

    def _replace(self, variant: Variant, dead: Instance) -> None:
        self._stop(dead, grace=0)
        while not self._closing.wait(_pause(variant.deaths)):
            with self._changed:
                if len(variant.serving) >= variant.plan.instances:
                    break
            try:
                self._add({variant.plan.name: 1})
                self._trim(variant)
                break
            except FleetClosedError:
                break
            except (DeploymentError, OSError) as error:  # OSError: this machine has no process or disk to give now
                variant.deaths += 1
                _log.warning("Endpoint %s: %s", self._endpoint, error)
        with self._changed:
            self._replacing.discard(threading.current_thread())

    def _trim(self, variant: Variant) -> None:
        """Stop instances beyond the planned count, the least busy ones, when they have finished their requests."""
        with self._changed:
            variant.serving.sort(key=lambda instance: instance.requests, reverse=True)
            surplus = variant.serving[variant.plan.instances :]
            del variant.serving[variant.plan.instances :]
            self._wait_until_idle(surplus, DRAIN_SECONDS)
        for instance in surplus:
            self._stop(instance, SIGTERM_SECONDS)

    def _wait_until_idle(self, instances: list[Instance], seconds: float) -> None:
        self._changed.wait_for(lambda: not any(instance.requests for instance in instances), seconds)


def _pause(deaths: int) -> float:
    return 0.0 if deaths <= 1 else min(LONGEST_PAUSE, 0.5 * 2.0 ** min(deaths - 2, 10))


_log = logging.getLogger(__name__)
