"""Resources of CloudFormation stacks that moto lacks, or makes without what API Gateway and Lambda need of them to run.

moto takes for the resource of a type whichever direct subclass of CloudFormationModel names that type last. These are read from and
written to moto's own backends, so that its API tells of them as of any other.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
from typing import TYPE_CHECKING, Any, ClassVar

from botocore.exceptions import ClientError
from moto.apigateway.models import ApiKey as MotoKey
from moto.apigateway.models import Resource as MotoResource
from moto.apigateway.models import apigateway_backends
from moto.awslambda.models import LambdaFunction, lambda_backends
from moto.cloudformation import parsing as _moto_resources  # noqa: F401 - whose classes must come before these
from moto.core.common_models import CloudFormationModel
from moto.logs.models import logs_backends

from trainmaster.embedded.sagemaker.account import Account

if TYPE_CHECKING:
    from moto.apigateway.models import APIGatewayBackend, GatewayResponse

Properties = dict[str, Any]


class ResourceFailedError(Exception):
    """Raised when a resource cannot be made; the message is what CloudFormation writes into the stack's events."""


class Ground:
    """The account all stacks are in. There is one for the process, as there is one of each of moto's backends."""

    account: ClassVar[Account]

    @classmethod
    def api_gateway(cls) -> APIGatewayBackend:
        return apigateway_backends[cls.account.account_id][cls.account.region]

    @classmethod
    def derived(cls, *parts: str, length: int) -> str:
        """An id nobody can guess, the same again when a stack is made again after a restart."""
        secret = cls.account.secret_access_key.encode()
        digest = hmac.new(secret, "/".join(parts).encode(), hashlib.sha256).digest()
        return base64.b32encode(digest + digest).decode().lower()[:length]


class Made:
    """A resource as a stack holds it. `make` returns its physical id; `change` is given its properties when any has changed."""

    kind: ClassVar[str]
    name_property: ClassVar[str] = ""
    attributes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, stack: str, logical_id: str, name: str) -> None:
        self.stack, self.logical_id, self.name = stack, logical_id, name
        self.physical_resource_id = ""

    def make(self, given: Properties) -> str:
        raise NotImplementedError

    def change(self, given: Properties) -> None:
        """By default it is as if made anew under the same id: every one of these takes the place of what was there."""
        self.make(given)

    def unmake(self) -> None:
        raise NotImplementedError

    @classmethod
    def cloudformation_type(cls) -> str:
        return cls.kind

    @classmethod
    def cloudformation_name_type(cls) -> str:
        return cls.name_property

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr in cls.attributes

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Properties, account_id: str, region_name: str, **given: Any
    ) -> Made:
        del account_id, region_name  # there is one of each
        made = cls(given["StackId"].split("/")[1], given["LogicalId"], resource_name)
        made.physical_resource_id = made.make(cloudformation_json["Properties"])
        return made

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: Made, new_resource_name: str, cloudformation_json: Properties, *_: Any, **__: Any
    ) -> Made:
        del new_resource_name  # those of ours that have a name keep it
        original_resource.change(cloudformation_json["Properties"])
        return original_resource

    def delete(self, account_id: str, region_name: str) -> None:
        del account_id, region_name
        self.unmake()

    def is_created(self) -> bool:
        return True


class Function(Made, CloudFormationModel):
    kind, name_property, attributes = "AWS::Lambda::Function", "FunctionName", ("Arn",)

    def make(self, given: Properties) -> str:
        code = base64.b64encode(self._code(given["Code"]))
        spec = {**given, "FunctionName": self.name, "Code": {"ZipFile": code}}
        backend = lambda_backends[Ground.account.account_id][Ground.account.region]
        self._function: LambdaFunction = backend.create_function(spec)
        return self.name

    def unmake(self) -> None:
        lambda_backends[Ground.account.account_id][Ground.account.region].delete_function(self.name)

    def get_cfn_attribute(self, _name: str) -> str:
        return str(self._function.function_arn)

    @staticmethod
    def _code(given: Properties) -> bytes:
        if "S3Bucket" not in given:
            raise ResourceFailedError("Of a function's code the embedded AWS takes S3Bucket and S3Key.")
        try:
            return Ground.account.s3.get_object(Bucket=given["S3Bucket"], Key=given["S3Key"])["Body"].read()
        except ClientError as error:
            code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
            raise ResourceFailedError(
                f"Error occurred while GetObject. S3 Error Code: {code}. S3 Error Message: {message}"
            ) from error


class LogGroup(Made, CloudFormationModel):
    kind, name_property, attributes = "AWS::Logs::LogGroup", "LogGroupName", ("Arn",)

    def make(self, given: Properties) -> str:
        tags = {tag["Key"]: tag["Value"] for tag in given.get("Tags", [])}
        self._backend().create_log_group(self.name, tags)
        self.change(given)
        return self.name

    def change(self, given: Properties) -> None:
        if days := given.get("RetentionInDays"):
            self._backend().put_retention_policy(self.name, int(days))
        else:
            self._backend().delete_retention_policy(self.name)

    def unmake(self) -> None:
        self._backend().delete_log_group(self.name)

    def get_cfn_attribute(self, _name: str) -> str:
        return f"{self._backend().groups[self.name].arn}:*"

    @staticmethod
    def _backend() -> Any:
        return logs_backends[Ground.account.account_id][Ground.account.region]


class RestApi(Made, CloudFormationModel):
    kind, attributes = "AWS::ApiGateway::RestApi", ("RootResourceId",)

    def make(self, given: Properties) -> str:
        tags: Any = {"_custom_id_": Ground.derived("api", self.stack, self.logical_id, length=10)}
        api = Ground.api_gateway().create_rest_api(
            name=given["Name"],
            description=given.get("Description", ""),
            api_key_source=given.get("ApiKeySourceType"),
            endpoint_configuration=given.get("EndpointConfiguration"),
            tags=tags,
        )
        return str(api.id)

    def change(self, given: Properties) -> None:
        api = Ground.api_gateway().apis[self.physical_resource_id]
        api.name, api.description = given["Name"], given.get("Description", "")

    def unmake(self) -> None:
        Ground.api_gateway().apis.pop(self.physical_resource_id, None)

    def get_cfn_attribute(self, _name: str) -> str:
        return str(Ground.api_gateway().apis[self.physical_resource_id].root_resource_id)


class Method(Made, CloudFormationModel):
    kind = "AWS::ApiGateway::Method"

    def make(self, given: Properties) -> str:
        backend, verb, asked = Ground.api_gateway(), given["HttpMethod"], given.get("Integration", {})
        self._place = (given["RestApiId"], given["ResourceId"], verb)
        backend.put_method(
            *self._place,
            authorization_type=given.get("AuthorizationType"),
            api_key_required=_is_true(given.get("ApiKeyRequired")),
        )
        for response in given.get("MethodResponses", []):
            parameters = response.get("ResponseParameters", {})
            backend.put_method_response(*self._place, response["StatusCode"], {}, parameters)
        if asked:
            backend.put_integration(
                *self._place,
                integration_type=asked["Type"],
                uri=asked.get("Uri", ""),
                integration_method=asked.get("IntegrationHttpMethod", ""),
                request_templates=asked.get("RequestTemplates"),
                timeout_in_millis=asked.get("TimeoutInMillis"),
            )
        for response in asked.get("IntegrationResponses", []):
            backend.put_integration_response(
                *self._place,
                response["StatusCode"],
                response.get("SelectionPattern"),
                dict(response.get("ResponseTemplates", {})),
                response.get("ResponseParameters", {}),
            )
        return f"{self.stack}-{self.logical_id}"

    def unmake(self) -> None:
        if self._place[0] in Ground.api_gateway().apis:
            Ground.api_gateway().delete_method(*self._place)


class GatewayAnswer(Made, CloudFormationModel):
    kind = "AWS::ApiGateway::GatewayResponse"

    def make(self, given: Properties) -> str:
        self._place = (given["RestApiId"], given["ResponseType"])
        Ground.api_gateway().put_gateway_response(
            *self._place,
            status_code=given.get("StatusCode"),  # type: ignore[arg-type]  # None leaves AWS's own
            response_parameters=given.get("ResponseParameters", {}),
            response_templates=given.get("ResponseTemplates", {}),
        )
        return f"{self.stack}-{self.logical_id}"

    def unmake(self) -> None:
        if self._place[0] in Ground.api_gateway().apis:
            Ground.api_gateway().delete_gateway_response(*self._place)


class Deployment(Made, CloudFormationModel):
    """What the API was when this was made; a stage serves that, whatever has become of the API since."""

    kind = "AWS::ApiGateway::Deployment"
    recorded: ClassVar[dict[str, tuple[dict[str, MotoResource], dict[str, GatewayResponse]]]] = {}
    _unrecorded: ClassVar[list[tuple[str, str]]] = []

    def make(self, given: Properties) -> str:
        made = Ground.api_gateway().create_deployment(given["RestApiId"], given.get("StageName", ""))
        self._place = (given["RestApiId"], str(made.id))
        self._unrecorded.append(self._place)
        return str(made.id)

    @classmethod
    def record(cls) -> None:
        """Once a stack's change is done: moto makes what is new in it before it changes what was there, AWS the other way round."""
        while cls._unrecorded:
            api_id, made = cls._unrecorded.pop()
            if api := Ground.api_gateway().apis.get(api_id):
                cls.recorded[made] = copy.deepcopy((api.resources, api.gateway_responses))

    def change(self, given: Properties) -> None:
        """AWS keeps a deployment as it is."""

    def unmake(self) -> None:
        api = Ground.api_gateway().apis.get(self._place[0])
        if api:
            api.deployments.pop(self._place[1], None)
        self.recorded.pop(self._place[1], None)


class Stage(Made, CloudFormationModel):
    kind = "AWS::ApiGateway::Stage"

    def make(self, given: Properties) -> str:
        self._api, name = given["RestApiId"], given["StageName"]
        Ground.api_gateway().create_stage(self._api, name, given["DeploymentId"])
        self._set(name, given)
        return str(name)

    def change(self, given: Properties) -> None:
        self._set(self.physical_resource_id, given)

    def _set(self, name: str, given: Properties) -> None:
        stage = Ground.api_gateway().get_stage(self._api, name)
        stage.deployment_id = given["DeploymentId"]
        stage.method_settings = {
            f"{_at_root(each['ResourcePath'])}/{each['HttpMethod']}": {
                "throttlingRateLimit": float(each.get("ThrottlingRateLimit", 10_000)),
                "throttlingBurstLimit": int(each.get("ThrottlingBurstLimit", 5_000)),
                "metricsEnabled": _is_true(each.get("MetricsEnabled")),
                "dataTraceEnabled": _is_true(each.get("DataTraceEnabled")),
            }
            for each in given.get("MethodSettings", [])
        }

    def unmake(self) -> None:
        api = Ground.api_gateway().apis.get(self._api)
        if api:
            api.stages.pop(self.physical_resource_id, None)


class ApiKey(Made, CloudFormationModel):
    kind = "AWS::ApiGateway::ApiKey"

    def make(self, given: Properties) -> str:
        key_id = Ground.derived("key id", self.stack, self.logical_id, length=10)
        value = given.get("Value") or Ground.derived("key", self.stack, self.logical_id, length=40)
        name, enabled = given.get("Name", self.name), _is_true(given.get("Enabled"))
        Ground.api_gateway().keys[key_id] = MotoKey(key_id, name=name, enabled=enabled, value=value)
        return key_id

    def unmake(self) -> None:
        Ground.api_gateway().keys.pop(self.physical_resource_id, None)


class UsagePlan(Made, CloudFormationModel):
    kind = "AWS::ApiGateway::UsagePlan"

    def make(self, given: Properties) -> str:
        made = Ground.api_gateway().create_usage_plan({"name": given.get("UsagePlanName", self.name)})
        self.physical_resource_id = str(made.id)
        self.change(given)
        return self.physical_resource_id

    def change(self, given: Properties) -> None:
        plan = Ground.api_gateway().usage_plans[self.physical_resource_id]
        plan.api_stages = [{"apiId": each["ApiId"], "stage": each["Stage"]} for each in given.get("ApiStages", [])]
        plan.throttle = plan.quota = {}
        if throttle := given.get("Throttle"):
            plan.throttle = {"rateLimit": float(throttle["RateLimit"]), "burstLimit": int(throttle["BurstLimit"])}
        if quota := given.get("Quota"):
            plan.quota = {"limit": int(quota["Limit"]), "period": quota["Period"]}

    def unmake(self) -> None:
        Ground.api_gateway().usage_plans.pop(self.physical_resource_id, None)
        Ground.api_gateway().usage_plan_keys.pop(self.physical_resource_id, None)


class UsagePlanKey(Made, CloudFormationModel):
    kind = "AWS::ApiGateway::UsagePlanKey"

    def make(self, given: Properties) -> str:
        self._place = (given["UsagePlanId"], given["KeyId"])
        Ground.api_gateway().create_usage_plan_key(
            given["UsagePlanId"], {"keyId": given["KeyId"], "keyType": given["KeyType"]}
        )
        return ":".join(reversed(self._place))

    def unmake(self) -> None:
        Ground.api_gateway().usage_plan_keys.get(self._place[0], {}).pop(self._place[1], None)


def _is_true(said: Any) -> bool:
    return str(said).lower() == "true"


def _at_root(path: str) -> str:
    """`*` of `/*`, as API Gateway writes a path in a stage's settings."""
    return path.removeprefix("/").replace("/", "~1")
