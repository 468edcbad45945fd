"""What settings name of images and lifecycle configurations: it must be there, and an app may use only what is attached."""

from __future__ import annotations

from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.wire import AwsError, Json, invalid

_APPS = {"JupyterLab": "JupyterLabAppSettings", "CodeEditor": "CodeEditorAppSettings"}
_HELD = ("JupyterLabAppSettings", "CodeEditorAppSettings", "KernelGatewayAppSettings", "JupyterServerAppSettings")


def check(account: Account, settings: Json) -> None:
    """Raises AwsError when settings name an image, a version, an app image configuration or a lifecycle configuration that is not there."""
    for member in _HELD:
        held = settings.get(member, {})
        for image in held.get("CustomImages", []):
            _check_image(account, image)
        arns = [*held.get("LifecycleConfigArns", []), held.get("DefaultResourceSpec", {}).get("LifecycleConfigArn")]
        for arn in filter(None, arns):
            if not account.records.has_arn(arn):
                raise AwsError("ResourceNotFound", f"StudioLifecycleConfig [{arn}] does not exist.")
        _check_idle(held)


def check_resource(account: Account, app_type: str, spec: Json, layers: list[Json]) -> None:
    """Raises AwsError when an app asks for what is not there, or not attached to its domain, profile or space.

    `layers` are the settings that hold for the app, the domain's first.
    """
    member = _APPS.get(app_type, "")
    if arn := spec.get("LifecycleConfigArn"):
        allowed = [one for layer in layers for one in layer.get(member, {}).get("LifecycleConfigArns", [])]
        if arn not in allowed:
            raise invalid(f"StudioLifecycleConfig [{arn}] is not attached to the domain or user profile.")
    version, image = spec.get("SageMakerImageVersionArn"), spec.get("SageMakerImageArn")
    if (named := version or image) and _is_ours(account, named):
        name = named.split(":", 5)[5].split("/")[1]
        allowed = [one["ImageName"] for layer in layers for one in layer.get(member, {}).get("CustomImages", [])]
        if version and not account.records.has_arn(version):
            raise AwsError("ResourceNotFound", f"ImageVersion [{version}] does not exist.")
        if name not in allowed:
            raise invalid(f"Image [{named}] is not attached to the domain or user profile for {app_type}.")


def _check_image(account: Account, image: Json) -> None:
    name = image["ImageName"]
    if account.records.get("image", name) is None:
        raise AwsError("ResourceNotFound", f"Image [{account.arn('image', name)}] does not exist.")
    number = image.get("ImageVersionNumber")
    if number is not None and account.records.get("image-version", f"{name}/{number}") is None:
        raise AwsError("ResourceNotFound", f"ImageVersion [{account.arn('image-version', f'{name}/{number}')}] does not exist.")  # fmt: skip
    config = image["AppImageConfigName"]
    if account.records.get("app-image-config", config) is None:
        raise AwsError("ResourceNotFound", f"AppImageConfig [{account.arn('app-image-config', config)}] does not exist.")  # fmt: skip


def _check_idle(held: Json) -> None:
    idle = held.get("AppLifecycleManagement", {}).get("IdleSettings", {})
    least, most = idle.get("MinIdleTimeoutInMinutes"), idle.get("MaxIdleTimeoutInMinutes")
    given = idle.get("IdleTimeoutInMinutes")
    if idle.get("LifecycleManagement") == "ENABLED" and given is None:
        raise invalid("IdleTimeoutInMinutes is required when LifecycleManagement is ENABLED.")
    if least is not None and most is not None and least > most:
        raise invalid(f"MinIdleTimeoutInMinutes {least} is more than MaxIdleTimeoutInMinutes {most}.")
    if given is not None and not (least or 0) <= given <= (most or given):
        raise invalid(f"IdleTimeoutInMinutes {given} is not between {least} and {most}.")


def _is_ours(account: Account, arn: str) -> bool:
    return arn.split(":")[4] == account.account_id
