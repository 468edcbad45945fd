"""What a training job may cost, and for how long the approved amount pays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from trainmaster.budget.charge import Charge
from trainmaster.budget.money import CENT, rounded_up, shown
from trainmaster.budget.prices import PriceList
from trainmaster.errors import OverBudgetError

ENDING_SECONDS = 300
"""What AWS bills after the cap: 120 s between SIGTERM and SIGKILL, and the upload of what the job leaves behind."""
SHORTEST_USEFUL_SECONDS = 300
"""A job whose budget pays for less is refused: starting instances and downloading data take minutes of it."""


@dataclass(frozen=True)
class Rate:
    """US dollars per hour for all instances of a job, their volumes included."""

    hourly: Decimal

    def cost(self, seconds: int) -> Decimal:
        """The exact cost of so many billable seconds per instance; spot or not, AWS bills the on-demand rate."""
        return self.hourly * seconds / 3600

    def seconds(self, dollars: Decimal) -> int:
        """How many whole seconds so many dollars pay for."""
        return int((dollars * 3600 / self.hourly).to_integral_value(ROUND_DOWN))


@dataclass(frozen=True)
class Approval:
    """Permission to spend up to `worst_case` dollars: `max_runtime_seconds`, where AWS is told to stop, and the ending."""

    rate: Rate
    approved: Decimal
    max_runtime_seconds: int
    asked_runtime_seconds: int
    others: tuple[tuple[str, Decimal], ...] = ()
    """The other instance types that can do it and this budget pays for with the same runtime, cheapest first, and what each
    costs at worst."""
    useful: tuple[tuple[str, Decimal], ...] = ()
    """The other instance types that can do it, cheapest first, and what the shortest useful run costs on each."""
    kept_seconds: int = 0
    """How long the instances are kept for the next job: a warm pool is billed like the job itself."""

    def cheaper(self, left: Decimal, smaller: str = "a budget_limit of") -> list[str]:
        """What would fit in so many dollars: up to three other types, the dearest, and a `smaller` budget for this one; where nothing
        does, other types with a smaller budget."""
        fitting = [f"{kind} ({shown(worst)})" for kind, worst in self.others if worst <= left]
        shortest = min(SHORTEST_USEFUL_SECONDS, self.asked_runtime_seconds)
        least = self.rate.cost(shortest + ENDING_SECONDS + self.kept_seconds)
        cents = left.quantize(CENT, ROUND_DOWN)
        fitting = fitting[-3:] + ([f"{smaller} ${cents}"] if least <= cents else [])
        return fitting or [f"{kind} with {smaller} ${cents}" for kind, cost in self.useful if cost <= cents][-3:]

    @property
    def worst_case(self) -> Decimal:
        """What the job costs when it runs to its cap, takes ENDING_SECONDS to end and no other takes over its instances; never
        above what was approved."""
        return self.rate.cost(self.max_runtime_seconds + ENDING_SECONDS + self.kept_seconds)

    @property
    def is_cut(self) -> bool:
        """True when the budget pays for less than was asked."""
        return self.max_runtime_seconds < self.asked_runtime_seconds


def training_rate(prices: PriceList, instance_type: str, instance_count: int, volume_gb: int, region: str) -> Rate:
    """Raises UnknownPriceError."""
    instance = prices.instance(instance_type, "training", region).usd
    return Rate((instance + prices.storage_hour(volume_gb, region)) * instance_count)


def any_type(_instance_type: str) -> bool:
    """For what trains anywhere."""
    return True


def approve_training(
    prices: PriceList,
    *,
    instance_type: str,
    instance_count: int,
    volume_gb: int,
    max_runtime_seconds: int,
    budget_limit: Decimal,
    region: str,
    kept_seconds: int = 0,
    can_do: Callable[[str], bool] = any_type,
) -> Approval:
    """Cut the runtime to what the budget pays for. `can_do` says which other types are worth a suggestion.

    Raises UnknownPriceError, and OverBudgetError when the budget is useless.
    """
    after = ENDING_SECONDS + kept_seconds

    def rate_of(kind: str) -> Rate:
        return training_rate(prices, kind, instance_count, volume_gb, region)

    def paid_seconds(kind: str) -> int:
        return rate_of(kind).seconds(budget_limit) - after

    rate = rate_of(instance_type)
    paid = paid_seconds(instance_type)
    needed = min(SHORTEST_USEFUL_SECONDS, max_runtime_seconds)
    able = [kind for kind in prices.instance_types("training", region) if can_do(kind)]
    fitting = [kind for kind in able if paid_seconds(kind) >= needed]
    if paid < needed:
        least = rounded_up(rate.cost(needed + after))
        pool = f" and {kept_seconds} s in a warm pool" if kept_seconds else ""
        raise OverBudgetError(
            f"Training on {instance_count} × {instance_type} for the shortest useful time"
            f" ({needed} s, and {ENDING_SECONDS} s to end{pool})",
            f"${least}",
            budget_limit,
            [f"{kind} ({shown(rate_of(kind).cost(needed + after))})" for kind in fitting[-3:]],
            f"raise budget_limit to at least ${least}",
            stands=f"budget_limit is ${budget_limit}",
        )
    others = tuple(
        (kind, rate_of(kind).cost(min(paid_seconds(kind), max_runtime_seconds) + after))
        for kind in fitting
        if kind != instance_type
    )
    runtime = min(paid, max_runtime_seconds)
    useful = tuple((kind, rate_of(kind).cost(needed + after)) for kind in able if kind != instance_type)
    return Approval(rate, budget_limit, runtime, max_runtime_seconds, others, useful, kept_seconds)


def approval_of(charge: Charge, *, approved: Decimal, asked_runtime_seconds: int, kept_seconds: int = 0) -> Approval:
    """What was approved when a charge was reserved, at the rate of then: its worst case is the charge, to the second it pays for."""
    rate = Rate(charge.hourly)
    runtime = rate.seconds(charge.amount) - ENDING_SECONDS - kept_seconds
    return Approval(rate, approved, runtime, max(runtime, asked_runtime_seconds), kept_seconds=kept_seconds)
