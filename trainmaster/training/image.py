"""Which container SageMaker trains and serves in."""

from __future__ import annotations

from trainmaster.errors import UnknownChoiceError

SKLEARN_IMAGE = "1.9-0"
"""The image tag; its scikit-learn is the version `pyproject.toml` and `model/requirements.txt` pin."""
_ANY_WITHOUT_GPU = "ml.m5.large"


def sklearn_image_uri(region: str) -> str:
    """The address of AWS's scikit-learn container for a region, from the SageMaker SDK's tables (no network).

    There is one for every instance type, those with GPUs too: scikit-learn has no use for them, and the SDK's tables therefore no
    row. Raises UnknownChoiceError for a region it has no container in.
    """
    from sagemaker.core import image_uris  # noqa: PLC0415 - takes 2 to 5 s and 200 MB to import

    try:
        uri: str = image_uris.retrieve(
            "sklearn", region, version=SKLEARN_IMAGE, py_version="py3", instance_type=_ANY_WITHOUT_GPU
        )
    except ValueError as error:
        raise UnknownChoiceError(f"AWS has no scikit-learn container in region {region!r}.") from error
    return uri
