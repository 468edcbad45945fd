"""What Prefect asks for in the form of deploy-endpoint, and in which order."""

from prefect.utilities.callables import parameter_schema

from flows.deploy_endpoint import deploy_endpoint
from trainmaster.endpoints.request import EndpointRequest


def test_the_model_and_the_endpoint_are_asked_for_before_all_choices() -> None:
    fields = parameter_schema(deploy_endpoint).definitions["EndpointRequest"]["properties"]
    assert list(fields)[:4] == ["model_uri", "model_group", "model_version", "endpoint_name"]
    assert fields.keys() == EndpointRequest.model_fields.keys()
    assert [field["position"] for field in fields.values()] == list(range(len(fields)))
