"""Which container SageMaker trains and serves in."""

from __future__ import annotations

SKLEARN_IMAGE = "1.9-0"
"""The image tag; its scikit-learn is the version `pyproject.toml` and `model/requirements.txt` pin."""


def sklearn_image_uri(region: str, instance_type: str) -> str:
    """The address of AWS's scikit-learn container for a region, from the SageMaker SDK's tables (no network)."""
    from sagemaker.core import image_uris  # noqa: PLC0415 - takes 2 to 5 s and 200 MB to import

    uri: str = image_uris.retrieve(
        "sklearn", region, version=SKLEARN_IMAGE, py_version="py3", instance_type=instance_type
    )
    return uri
