"""A deployment from a request to a proven endpoint, a function for each stage: for the flows' tasks and for commands alike.

Each is safe to repeat. All raise RefusedError of some kind for what is not done, and botocore's errors.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from trainmaster.aws.polling import Patience
from trainmaster.budget.budgets import Payer
from trainmaster.budget.metering import Meter
from trainmaster.budget.prices import PriceList
from trainmaster.endpoints.allowed import asked_of, require_allowed
from trainmaster.endpoints.applying import apply_plan
from trainmaster.endpoints.deploying import note_proof, require_serving, settle
from trainmaster.endpoints.described import describe_endpoint
from trainmaster.endpoints.desired import ChosenModels, Place, approve_hosting, desired_endpoint
from trainmaster.endpoints.metering import reserve_hours, see_hours
from trainmaster.endpoints.models.fitting import require_fitting
from trainmaster.endpoints.models.lineage import version_of_artifact
from trainmaster.endpoints.models.package import inspect_model
from trainmaster.endpoints.models.registry import require_not_rejected, resolve
from trainmaster.endpoints.models.smoke import SmokeTest, smoke_test
from trainmaster.endpoints.plan import (
    AFTERWARDS,
    CHALLENGER,
    REHEARSAL,
    VARIANT,
    Desired,
    Plan,
    plan_deployment,
    variants_rate,
)
from trainmaster.endpoints.pruning import prune_versions
from trainmaster.endpoints.removing import Belongings
from trainmaster.endpoints.request import EndpointChoices, EndpointRequest
from trainmaster.endpoints.undoing import undo_deployment
from trainmaster.errors import DeploymentFailedError, UnknownPriceError
from trainmaster.settings import Settings
from trainmaster.training.desk import Desk
from trainmaster.training.image import serving_image_uri
from trainmaster.workspaces.policy.file import load_policy

OnStatus = Callable[[str], None]


def approve(choices: EndpointChoices, prices: PriceList, settings: Settings) -> Decimal:
    """US dollars an hour at most. Raises UnknownPriceError, OverBudgetError when that is more than was approved, and PolicyRefusedError
    with all that the policy does not give whoever pays."""
    hourly = approve_hosting(choices, prices, settings.region)
    payer = choices.payer(Payer(settings.user_id, settings.team))
    asked = asked_of(choices, payer, prices, settings.region)
    require_allowed(load_policy(settings), choices.endpoint_name, asked)
    return hourly


def choose_models(desk: Desk, request: EndpointRequest) -> ChosenModels:
    """The artifacts of the request, each read once; of a model group the version asked for, or its latest approved one.

    Raises ModelRefusedError for one that cannot be served, NotApprovedError for one that was rejected, and it or UnknownChoiceError for no such version.
    """
    s3, arn, uri, sha256 = desk.client("s3"), "", request.model_uri, ""
    if request.model_group:
        found = resolve(desk.client("sagemaker"), request.model_group, request.model_version)
        arn, uri, sha256 = found.arn, found.model_uri, found.sha256
    main = inspect_model(s3, uri, sha256=sha256)
    if not arn and (known := version_of_artifact(desk.client("sagemaker"), main)):
        require_not_rejected(known)
        arn = known.arn  # so that the way from the endpoint leads to its data however it was deployed
    return ChosenModels(
        main,
        arn,
        challenger=inspect_model(s3, request.challenger.model_uri) if request.challenger else None,
        shadow=inspect_model(s3, request.shadow.model_uri) if request.shadow else None,
    )


def desire(desk: Desk, request: EndpointRequest, models: ChosenModels) -> Desired:
    """The endpoint as it should be; refused as `approve` refuses it, and where a model does not fit what it is to be served on."""
    settings = desk.settings
    approve(request, desk.prices, settings)
    served = [one for one in (models.main, models.challenger, models.shadow) if one]
    require_fitting(served, request, desk.prices, settings.region)
    place = Place(
        serving_image_uri(models.main.kind.framework, settings.region, request.instance_type),
        settings.required("execution_role_arn"),
        settings.region,
        settings.required("bucket") if request.capture_percent else "",
        str(desk.catalogue.installation),
    )
    return desired_endpoint(request, models, place, desk.prices)


def plan(desk: Desk, desired: Desired, *, on_status: OnStatus = lambda _: None) -> Plan:
    """What has to be done, once the endpoint has settled, and what an hour of it costs before; nothing is changed."""
    settle(desk.client("sagemaker"), desired.endpoint_name, patience_of(desk.settings), on_status=on_status)
    described = describe_endpoint(desk.client, desired)
    most = max((one.max_instances for one in described.scaling.values()), default=None)
    try:
        before = variants_rate(desk.prices, described.variants, desk.settings.region, most)
    except UnknownPriceError:
        before = None
    return Plan(tuple(plan_deployment(desired, described)), before)


def reserve(desk: Desk, desired: Desired, planned: Plan, payer: Payer) -> Meter:
    """Its first hours, in every budget of who pays; of what serves already they are counted all the same."""
    return reserve_hours(desk, desired, payer, whatever=not planned.launches)


def bring_up(
    desk: Desk, desired: Desired, planned: Plan, payer: Payer, *, on_status: OnStatus = lambda _: None
) -> None:
    """Carry out the plan, but for its rehearsal, and wait until the endpoint serves just this configuration; it is billed from when it is being made.

    Raises DeploymentFailedError when it comes to serve anything else.
    """
    patience = patience_of(desk.settings, desired)
    steps = [step for step in planned.steps if step.kind not in {*AFTERWARDS, REHEARSAL}]
    apply_plan(desk.client, desired, steps, patience)
    see_hours(desk, desired, payer, whatever=not planned.launches)
    endpoint = settle(desk.client("sagemaker"), desired.endpoint_name, patience, on_status=on_status)
    require_serving(endpoint, desired)
    apply_plan(desk.client, desired, [step for step in planned.steps if step.kind in AFTERWARDS], patience)


def prove(desk: Desk, desired: Desired, models: ChosenModels) -> SmokeTest:
    """Ask every version that answers; what has answered is noted as proven. Raises DeploymentFailedError."""
    tested = ask(desk, desired, models)
    note_proof(desk.client("sagemaker"), desired)
    return tested


def ask(desk: Desk, desired: Desired, models: ChosenModels) -> SmokeTest:
    """Ask every version that answers; what the main one said. Raises DeploymentFailedError when one answers as it should not."""
    runtime, name = desk.client("sagemaker-runtime"), desired.endpoint_name
    if models.challenger is None:
        return smoke_test(runtime, name, models.main)
    tested = smoke_test(runtime, name, models.main, variant=VARIANT)
    smoke_test(runtime, name, models.challenger, variant=CHALLENGER)
    return tested


def prune(desk: Desk, desired: Desired) -> Belongings:
    """Remove what is neither serving nor among the last proven versions to be kept; what was removed."""
    return prune_versions(desk.client("sagemaker"), desired.endpoint_name, desired.keep_versions)


def undo(desk: Desk, desired: Desired, error: Exception) -> str:
    """Back to what served before, for this error; a sentence that says what serves now."""
    blamed = isinstance(error, DeploymentFailedError) and error.blames_it
    patience = patience_of(desk.settings, desired)
    return undo_deployment(desk.client, desired, patience, failure=str(error) if blamed else "")


def patience_of(settings: Settings, desired: Desired | None = None) -> Patience:
    """How long a deployment may take, from the settings; and as long as its rollout waits between its steps."""
    waits = desired.rollout.waiting_seconds() if desired else 0
    return Patience(settings.poll_seconds, settings.outage_seconds, settings.deploy_timeout_seconds + waits)
