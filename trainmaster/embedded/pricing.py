"""AWS's Price List API over the prices this project ships, or over a price list of your own in the state folder."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import botocore.session
from werkzeug.wrappers import Response

from trainmaster.budget.hardware import Hardware, hardware_of
from trainmaster.budget.prices import STORAGE, Price, PriceList, Use, prices_in, shipped_prices
from trainmaster.embedded.calls import Call
from trainmaster.embedded.sagemaker import wire
from trainmaster.embedded.sagemaker.wire import AwsError, Json
from trainmaster.errors import NotConfiguredError

OWN_LIST = "price-list.csv"
"""In the state folder, with the columns of the shipped prices: what this AWS charges from now on."""
SERVICES = ("AmazonEC2", "AmazonEFS", "AmazonSageMaker", "CodeBuild")
_FORMAT = "aws_v1"
_TERM, _RATE = "JRTCKXETXF", "6YS6EN2CT7"  # AWS's own codes for on-demand, and for its one rate
_SAGEMAKER: dict[Use, tuple[str, str, str]] = {
    "training": ("Training", "Train:", "Train:VolumeUsage.gp2"),
    "hosting": ("Hosting", "Host:", "Host:VolumeUsage.gp2"),
    "studio": ("Studio-JupyterLab", "Studio:JupyterLab-", "Studio:VolumeUsage.gp3"),
}
_BY_USE: dict[Use, tuple[str, str, str, str]] = {
    "efs": ("AmazonEFS", "Amazon Elastic File System", "TimedStorage-ByteHrs", "Storage"),
    "canvas": ("AmazonSageMaker", "Amazon SageMaker", "Canvas:{item}", "ML Canvas"),
    "build": ("CodeBuild", "AWS CodeBuild", "Build-Min:Linux:{item}", "Compute"),
}
_PLACES = {
    "us-east-1": "USE1", "us-east-2": "USE2", "us-west-1": "USW1", "us-west-2": "USW2", "ca-central-1": "CAN1",
    "eu-west-1": "EU", "eu-west-2": "EUW2", "eu-central-1": "EUC1", "ap-northeast-1": "APN1", "ap-south-1": "APS3",
}  # fmt: skip


@dataclass(frozen=True)
class Product:
    """One entry of a price list: `fields` are what filters and attribute values know, `document` is its JSON."""

    service: str
    fields: dict[str, str]
    document: str


@dataclass(frozen=True)
class PriceListApi:
    """Answers DescribeServices, GetAttributeValues and GetProducts; its `state` is the embedded AWS's folder."""

    state: Path

    def answer(self, call: Call) -> Response:
        """Raises AwsError for a bad request and for an operation AWS or we do not have."""
        operations: dict[str, Callable[[list[Product], Json], Json]] = {
            "DescribeServices": _describe_services,
            "GetAttributeValues": _attribute_values,
            "GetProducts": _products,
        }
        if call.operation not in operations:
            raise AwsError(
                "NotImplementedException", f"The embedded AWS does not have pricing:{call.operation}.", status=501
            )
        request = _checked(call)
        answer = operations[call.operation](self._charged(), request)
        return Response(json.dumps(answer), content_type="application/x-amz-json-1.1")

    def _charged(self) -> list[Product]:
        own = self.state / OWN_LIST
        try:
            about = own.stat()
        except FileNotFoundError:
            return _shipped()
        try:
            return _own(own, about.st_mtime_ns, about.st_size)
        except NotConfiguredError as error:
            raise AwsError("InternalErrorException", str(error), status=500) from error


@cache
def _shipped() -> list[Product]:
    return _listed(shipped_prices())


@lru_cache(maxsize=4)
def _own(path: Path, _changed_ns: int, _size: int) -> list[Product]:
    return _listed(prices_in(path))


def _listed(prices: PriceList) -> list[Product]:
    return [product for price in prices for product in _offered(price)]


def _offered(price: Price) -> Iterator[Product]:
    """The price's product, and where AWS has one, the free tier's beside it."""
    attributes, family = _attributes(price)
    yield _product(price, family, attributes, f"{price.usd / _units(price):.10f}")
    if price.use == "training" and price.item == "ml.m5.xlarge":
        yield _product(price, family, attributes, "0.0000000000")


def _units(price: Price) -> int:
    """How many of the units AWS prices are one of ours."""
    return 60 if price.use == "build" else 1


def _attributes(price: Price) -> tuple[dict[str, str], str]:
    where = {
        "regionCode": price.region,
        "location": _location(price.region),
        "locationType": "AWS Region",
    }
    if price.use == "ec2":
        place = "" if price.region == "us-east-1" else f"{_place(price.region)}-"
        service = {"servicecode": "AmazonEC2", "servicename": "Amazon Elastic Compute Cloud"}
        if price.item == STORAGE:
            volume = {"usagetype": f"{place}EBS:VolumeUsage.gp3", "operation": "", "volumeApiName": "gp3"}
            return {**where, **service, **volume, "volumeType": "General Purpose"}, "Storage"
        machine = {
            "usagetype": f"{place}BoxUsage:{price.item}", "operation": "RunInstances", "instanceType": price.item,
            "tenancy": "Shared", "operatingSystem": "Linux", "preInstalledSw": "NA", "capacitystatus": "Used",
            "licenseModel": "No License required", "marketoption": "OnDemand",
        }  # fmt: skip
        return {**where, **service, **machine, **_inside(price.item)}, "Compute Instance"
    place = f"{_place(price.region)}-"
    if price.use in _BY_USE:
        servicecode, name, usage, family = _BY_USE[price.use]
        service = {"servicecode": servicecode, "servicename": name}
        storage = {"storageClass": "General Purpose"} if price.item == STORAGE else {}
        usage = usage.format(item=price.item)
        return {**where, **service, "usagetype": f"{place}{usage}", "operation": "", **storage}, family
    service = {"servicecode": "AmazonSageMaker", "servicename": "Amazon SageMaker"}
    component, before, volume_usage = _SAGEMAKER[price.use]
    if price.item == STORAGE:
        classified = volume_usage.rpartition(".")[0]
        volume = {"usagetype": f"{place}{volume_usage}", "operation": "", "platoclassificationtype": classified}
        return {**where, **service, **volume, "volumeType": f"General Purpose-{component}"}, "Storage"
    machine = {
        "usagetype": f"{place}{before}{price.item}", "operation": "RunInstance", "instanceName": price.item,
        "instanceType": f"{price.item}-{component}", "component": component, "platoinstancetype": component,
        "platoinstancename": price.item.split(".")[1],
    }  # fmt: skip
    return {**where, **service, **machine, **_inside(price.item)}, "ML Instance"


def _inside(instance_type: str) -> dict[str, str]:
    hardware = hardware_of(instance_type) or Hardware(0, 0, 0, "", 0)
    if not hardware.vcpus:
        return {}
    gpus = {"gpu": str(hardware.gpus), "physicalGpu": hardware.gpu, "gpuMemory": str(hardware.gpu_memory_gb)}
    without = {"physicalGpu": "N/A", "gpuMemory": "N/A"}
    inside = {"vCpu": str(hardware.vcpus), "memory": f"{hardware.memory_gib} GiB"}
    return inside | (gpus if hardware.gpus else without)


def _product(price: Price, family: str, attributes: dict[str, str], usd: str) -> Product:
    said = "\n".join((price.region, price.use, price.item, "free" if float(usd) == 0 else ""))
    sku = base64.b32encode(hashlib.sha256(said.encode()).digest()).decode()[:16]
    unit, thing = ("GB-Mo", "GB-month") if price.item == STORAGE else ("Hrs", "hour")
    if _units(price) != 1:
        unit, thing = "minutes", "minute"
    rate = {
        "rateCode": f"{sku}.{_TERM}.{_RATE}",
        "unit": unit,
        "beginRange": "0",
        "endRange": "Inf",
        "description": f"${usd} per {thing} of {price.item} in {attributes['location']}",
        "appliesTo": [],
        "pricePerUnit": {"USD": usd},
    }
    term = {
        "sku": sku,
        "offerTermCode": _TERM,
        "effectiveDate": f"{price.as_of}T00:00:00Z",
        "termAttributes": {},
        "priceDimensions": {rate["rateCode"]: rate},
    }
    document = {
        "product": {"productFamily": family, "attributes": attributes, "sku": sku},
        "serviceCode": attributes["servicecode"],
        "terms": {"OnDemand": {f"{sku}.{_TERM}": term}},
        "version": re.sub(r"\D", "", price.as_of) + "000000",
        "publicationDate": f"{price.as_of}T00:00:00Z",
    }
    fields = {**attributes, "productFamily": family, "sku": sku, "ServiceCode": attributes["servicecode"]}
    return Product(attributes["servicecode"], fields, json.dumps(document))


def _place(region: str) -> str:
    return _PLACES.get(region, region.replace("-", "").upper())


def _location(region: str) -> str:
    return _locations().get(region, region)


@cache
def _locations() -> dict[str, str]:
    """AWS's names of its regions, as botocore ships them; there `Europe` is written where price lists write `EU`."""
    partitions = botocore.session.get_session().get_data("endpoints")["partitions"]
    return {
        code: about["description"].replace("Europe", "EU")
        for partition in partitions
        for code, about in partition["regions"].items()
    }


def _checked(call: Call) -> Json:
    try:
        request = json.loads(call.request.get_data() or b"{}")
    except ValueError:
        raise AwsError("SerializationException", "The request body is not JSON.") from None
    model = wire.service_model("pricing").operation_model(call.operation)
    if isinstance(request, dict):
        for name in model.input_shape.required_members if model.input_shape else ():
            if not request.get(name):
                member = name[:1].lower() + name[1:]
                raise _invalid(f"Input Parameters are invalid. {member} cannot be null or empty")
        if not re.fullmatch("[a-zA-Z0-9]*", str(request.get("ServiceCode", ""))):
            raise _invalid("ServiceCode can only contain a-z, A-Z, 0-9")
        if request.get("FormatVersion", _FORMAT) != _FORMAT:
            raise _invalid(f"Input Parameters are invalid. formatVersion must be {_FORMAT}")
    try:
        return wire.checked(model, request)
    except AwsError as error:
        if error.code == "ValidationException":
            raise _invalid(f"Input Parameters are invalid. {error.message}") from None
        raise


def _invalid(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


def _of_service(products: list[Product], code: str) -> list[Product]:
    if code not in SERVICES:
        raise AwsError("NotFoundException", f"The service {code} could not be found.")
    return [product for product in products if product.service == code]


def _describe_services(products: list[Product], request: Json) -> Json:
    if code := request.get("ServiceCode"):
        products = _of_service(products, code)
    names: dict[str, set[str]] = {code: {"termType"} for code in ([code] if code else SERVICES)}
    for product in products:
        names[product.service].update(product.fields.keys() - {"ServiceCode", "sku"})
    services = [{"ServiceCode": code, "AttributeNames": sorted(attributes)} for code, attributes in names.items()]
    return {"FormatVersion": _FORMAT, **_page("Services", services, request, 100)}


def _attribute_values(products: list[Product], request: Json) -> Json:
    name = request["AttributeName"]
    products = _of_service(products, request["ServiceCode"])
    values = sorted({product.fields[name] for product in products if name in product.fields})
    if not values:
        raise AwsError("NotFoundException", f"{request['ServiceCode']} has no attribute {name}.")
    return _page("AttributeValues", [{"Value": value} for value in values], request, 10_000)


def _products(products: list[Product], request: Json) -> Json:
    filters = request.get("Filters", [])
    found = [
        product.document
        for product in _of_service(products, request["ServiceCode"])
        if all(_matches(product.fields.get(each["Field"]), each["Type"], each["Value"]) for each in filters)
    ]
    return {"FormatVersion": _FORMAT, **_page("PriceList", found, request, 100)}


def _matches(value: str | None, how: str, wanted: str) -> bool:
    choices = [choice.strip() for choice in wanted.split(",")]
    match how:
        case "TERM_MATCH" | "EQUALS":
            return value == wanted
        case "CONTAINS":
            return value is not None and wanted in value
        case "ANY_OF":
            return value in choices
        case _:  # NONE_OF, the last of the model's enumeration
            return value not in choices


def _page(name: str, everything: list[Any], request: Json, most: int) -> Json:
    """From the token's place on. A token is good for the question it was given for, and no other."""
    question = {key: value for key, value in request.items() if key not in ("NextToken", "MaxResults")}
    seal = hashlib.sha256(json.dumps([name, question], sort_keys=True).encode()).hexdigest()[:16]
    start, size = _start(request.get("NextToken"), seal), request.get("MaxResults", most)
    page: Json = {name: everything[start : start + size]}
    if start + size < len(everything):
        page["NextToken"] = base64.b64encode(f"{seal}:{start + size}".encode()).decode()
    return page


def _start(token: str | None, seal: str) -> int:
    if token is None:
        return 0
    try:
        given, _, place = base64.b64decode(token, validate=True).decode().partition(":")
    except ValueError:
        given, place = "", ""
    if given != seal or not place.isdecimal():
        raise AwsError(
            "InvalidNextTokenException", "The pagination token is invalid. Try again without a pagination token."
        )
    return int(place)
