"""What people are told of an endpoint and its public API: sentences, no Python."""

from decimal import Decimal
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError

from trainmaster.aws.polling import Patience
from trainmaster.endpoints.api.stack import PublishedApi, Withdrawal
from trainmaster.endpoints.deploying import settle
from trainmaster.endpoints.models.smoke import SmokeTest
from trainmaster.endpoints.results import ServedModel, listed

HOUSE = {"bedrooms": 3.0, "bathrooms": 2.5, "sqft": 1863, "lot": 12_345_678.0}


def test_a_house_and_its_price_are_listed_by_name() -> None:
    assert listed(HOUSE) == "bedrooms 3, bathrooms 2.5, sqft 1863, lot 12345678"
    tested = SmokeTest(inputs=HOUSE, answer={"predicted_price": 451320, "model_version": "v1"}, milliseconds=[8.5])
    served = ServedModel(
        endpoint_name="e",
        config_name="c",
        model_name="m",
        model_uri="s3://bucket/model.tar.gz",
        hourly_cost=Decimal("0.115"),
        steps=[],
        smoke_test=tested,
    )
    said = {row["what"]: row["value"] for row in served.table()}
    assert said["asked"] == "bedrooms 3, bathrooms 2.5, sqft 1863, lot 12345678"
    assert said["answered"] == "predicted_price 451320, model_version v1"


def test_an_endpoint_that_was_never_made_is_not_said_to_be_gone() -> None:
    said: list[str] = []
    sagemaker = Mock()
    missing = {"Error": {"Code": "ValidationException", "Message": "Could not find endpoint."}}
    sagemaker.describe_endpoint.side_effect = ClientError(missing, "DescribeEndpoint")  # type: ignore[arg-type]
    assert settle(sagemaker, "house-prices", Patience(0, 1, 1), on_status=said.append) is None
    assert said == ["not there"]


@pytest.mark.parametrize(("code", "said"), [(["a"], "1 version of its code"), (["a", "b"], "2 versions of its code")])
def test_code_that_was_withdrawn_is_counted(code: list[str], said: str) -> None:
    withdrawal = Withdrawal(endpoint_name="e", stack=None, code=code, removed=True)
    assert withdrawal.sentence() == f"Removed {said}. Its endpoint stays."


def test_how_an_api_is_asked_can_be_copied_from_its_page() -> None:
    published = PublishedApi(
        endpoint_name="e", stack_name="predict-e", url="https://a/predict", steps=[], example='{"sqft": 1800}'
    )
    assert published.markdown() == (
        "Endpoint e answers at POST https://a/predict.\n\n```bash\n"
        "curl -H \"x-api-key: $(trainmaster endpoints key e)\" -H 'Content-Type: application/json'"
        " -d '{\"sqft\": 1800}' https://a/predict\n```"
    )
