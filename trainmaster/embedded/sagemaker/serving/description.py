"""What DescribeEndpoint says of an endpoint's record."""

from __future__ import annotations

from trainmaster.embedded.sagemaker.serving.plan import VariantPlan, restored
from trainmaster.embedded.sagemaker.wire import Json


def described(body: Json) -> Json:
    """The answer's members: the record's own, its variants, and what is on the way."""
    pending: Json | None = body["Pending"]
    wanted = {plan.name: plan for plan in restored(pending["Plan"])} if pending else {}
    resizing = pending is not None and pending["Resize"]
    variants: dict[bool, list[Json]] = {False: [], True: []}
    for plan in restored(body["Plan"]):
        desired = wanted[plan.name] if resizing else plan
        variant = _variant(plan, desired, body["DeployedTime"])
        if pending and resizing:
            variant["VariantStatus"] = [{"Status": "Updating", "StartTime": pending["StartTime"]}]
        variants[plan.shadow].append(variant)
    answer = {**body, **_by_kind(variants)}
    if capture := body.get("DataCapture"):
        answer["DataCaptureConfig"] = _capture(capture)
    if pending and not resizing:
        coming: dict[bool, list[Json]] = {False: [], True: []}
        for plan in wanted.values():
            coming[plan.shadow].append(_coming(plan, pending["StartTime"], pending.get("VariantStatus", "Creating")))
        answer["PendingDeploymentSummary"] = {
            "EndpointConfigName": pending["EndpointConfigName"],
            "StartTime": pending["StartTime"],
            **_by_kind(coming),
        }
    return answer


def _by_kind(variants: dict[bool, list[Json]]) -> Json:
    return {"ProductionVariants": variants[False] or None, "ShadowProductionVariants": variants[True] or None}


def _capture(config: Json) -> Json:
    return {
        "EnableCapture": True,
        "CaptureStatus": "Started",
        "CurrentSamplingPercentage": config["InitialSamplingPercentage"],
        "DestinationS3Uri": config["DestinationS3Uri"],
        "KmsKeyId": config.get("KmsKeyId", ""),
    }


def _variant(plan: VariantPlan, desired: VariantPlan, deployed: float) -> Json:
    summary: Json = {
        "VariantName": plan.name,
        "DeployedImages": [_image(plan, deployed)],
        "CurrentWeight": plan.weight,
        "DesiredWeight": desired.weight,
    }
    if plan.serverless:
        return {**summary, "CurrentServerlessConfig": plan.serverless, "DesiredServerlessConfig": desired.serverless}
    return {**summary, "CurrentInstanceCount": plan.instances, "DesiredInstanceCount": desired.instances}


def _coming(plan: VariantPlan, started: float, status: str) -> Json:
    summary: Json = {
        "VariantName": plan.name,
        "DeployedImages": [_image(plan, started)],
        "DesiredWeight": plan.weight,
        "VariantStatus": [{"Status": status, "StartTime": started}],
    }
    if plan.serverless:
        return {**summary, "DesiredServerlessConfig": plan.serverless}
    return {
        **summary,
        "InstanceType": plan.instance_type,
        "CurrentInstanceCount": 0,
        "DesiredInstanceCount": plan.instances,
    }


def _image(plan: VariantPlan, resolved: float) -> Json:
    return {"SpecifiedImage": plan.image, "ResolvedImage": plan.image, "ResolutionTime": resolved}
