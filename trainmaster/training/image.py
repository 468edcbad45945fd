"""Which container SageMaker trains and serves in."""

from __future__ import annotations

from trainmaster.errors import UnknownChoiceError
from trainmaster.training.trainers import Framework

SKLEARN_IMAGE = "1.9-0"
"""The image tag; its scikit-learn is the version `pyproject.toml` and `model/requirements.txt` pin."""
_ANY_WITHOUT_GPU = "ml.m5.large"
HUGGING_FACE = {"version": "4.56.2", "base_framework_version": "pytorch2.8.0", "py_version": "py312"}
"""Its libraries have the versions that `model/finetune/requirements.txt` pins."""
HUGGING_FACE_SERVING = {"version": "4.51.3", "base_framework_version": "pytorch2.6.0", "py_version": "py312"}
"""The newest whose transformers is older than the pinned one and of the same major version: an artifact's requirements.txt brings it
to the version that wrote its weights. There is one for CPUs and one for GPUs."""
ANY_WITH_GPU = "ml.g5.xlarge"


def image_uri(framework: Framework, region: str) -> str:
    """The address of AWS's container for training with a framework. Raises UnknownChoiceError for a region that has none."""
    return sklearn_image_uri(region) if framework == "scikit-learn" else hugging_face_image_uri(region)


def serving_image_uri(framework: Framework, region: str, instance_type: str) -> str:
    """The address of AWS's container that serves a framework's models on a type. Raises UnknownChoiceError where it has none."""
    if framework == "scikit-learn":
        return sklearn_image_uri(region)
    return _retrieved(
        "huggingface",
        "Hugging Face",
        region,
        image_scope="inference",
        instance_type=instance_type,
        **HUGGING_FACE_SERVING,
    )


def sklearn_image_uri(region: str) -> str:
    """The address of AWS's scikit-learn container for a region, from the SageMaker SDK's tables (no network).

    There is one for every instance type, those with GPUs too: scikit-learn has no use for them, and the SDK's tables therefore no
    row. Raises UnknownChoiceError for a region it has no container in.
    """
    return _retrieved(
        "sklearn", "scikit-learn", region, version=SKLEARN_IMAGE, py_version="py3", instance_type=_ANY_WITHOUT_GPU
    )


def hugging_face_image_uri(region: str) -> str:
    """The address of AWS's Hugging Face container for training, which there is for GPUs alone; it also runs without one.

    Raises UnknownChoiceError for a region it has no container in.
    """
    return _retrieved(
        "huggingface", "Hugging Face", region, image_scope="training", instance_type=ANY_WITH_GPU, **HUGGING_FACE
    )


def _retrieved(framework: str, called: str, region: str, **choices: str) -> str:
    from sagemaker.core import image_uris  # noqa: PLC0415 - takes 2 to 5 s and 200 MB to import

    try:
        uri: str = image_uris.retrieve(framework, region, **choices)
    except ValueError as error:
        raise UnknownChoiceError(f"AWS has no {called} container in region {region!r}.") from error
    return uri
