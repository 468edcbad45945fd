"""What DescribeEndpoint says of an endpoint's record."""

from __future__ import annotations

from trainmaster.embedded.sagemaker.serving.plan import VariantPlan, restored
from trainmaster.embedded.sagemaker.wire import Json


def described(body: Json) -> Json:
    """The answer's members: the record's own, its variants, and what is on the way."""
    pending: Json | None = body["Pending"]
    wanted = {plan.name: plan for plan in restored(pending["Plan"])} if pending else {}
    resizing = pending is not None and pending["Resize"]
    variants = []
    for plan in restored(body["Plan"]):
        desired = wanted[plan.name] if resizing else plan
        variant = _variant(plan, desired, body["DeployedTime"])
        if pending and resizing:
            variant["VariantStatus"] = [{"Status": "Updating", "StartTime": pending["StartTime"]}]
        variants.append(variant)
    answer = {**body, "ProductionVariants": variants or None}
    if pending and not resizing:
        answer["PendingDeploymentSummary"] = {
            "EndpointConfigName": pending["EndpointConfigName"],
            "StartTime": pending["StartTime"],
            "ProductionVariants": [_coming(plan, pending["StartTime"]) for plan in wanted.values()],
        }
    return answer


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


def _coming(plan: VariantPlan, started: float) -> Json:
    summary: Json = {
        "VariantName": plan.name,
        "DeployedImages": [_image(plan, started)],
        "DesiredWeight": plan.weight,
        "VariantStatus": [{"Status": "Creating", "StartTime": started}],
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
