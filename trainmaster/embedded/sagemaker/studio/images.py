"""Images of Studio and their versions. A version's number is never given twice; it stands for an image that is in ECR."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from trainmaster.embedded.sagemaker import listing
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.records import AlreadyRecordedError
from trainmaster.embedded.sagemaker.roles import check_assumable
from trainmaster.embedded.sagemaker.studio.parts import Kind, in_use
from trainmaster.embedded.sagemaker.studio.settling import Settling
from trainmaster.embedded.sagemaker.wire import AwsError, Json, invalid

if TYPE_CHECKING:
    from trainmaster.embedded.sagemaker.api import Operation

IMAGE, VERSION = Kind("image", "Image"), Kind("image-version", "ImageVersion")
_IN_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com/(?P<repository>[^:@]+)"
    r"(?::(?P<tag>[^@]+)|@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_SORTED_BY = {
    "CREATION_TIME": "CreationTime",
    "LAST_MODIFIED_TIME": "LastModifiedTime",
    "IMAGE_NAME": "Name",
    "VERSION": "CreationTime",  # they rise together
}
_MENDED = ("VendorGuidance", "JobType", "MLFramework", "ProgrammingLang", "Processor", "Horovod", "ReleaseNotes")


class Images:
    """Safe to share between threads."""

    def __init__(self, account: Account, settling: Settling) -> None:
        self._account, self._records, self._settling = account, account.records, settling

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {
            "CreateImage": self._create,
            "DescribeImage": lambda request: self._known(request["ImageName"]),
            "UpdateImage": self._update,
            "DeleteImage": self._delete,
            "ListImages": self._list,
            "CreateImageVersion": self._create_version,
            "DescribeImageVersion": self._version,
            "UpdateImageVersion": self._update_version,
            "DeleteImageVersion": self._delete_version,
            "ListImageVersions": self._list_versions,
            "ListAliases": self._list_aliases,
        }

    def recover(self) -> None:
        """End what was on its way when the last process ended."""
        for kind in (VERSION, IMAGE):
            for body in self._records.all(kind.kind):
                if body[f"{kind.noun}Status"] == "DELETING":
                    self._records.delete(kind.kind, body["Key"])
                else:
                    self._settling.later(partial(self._reach, kind, body["Key"]))

    def _create(self, request: Json) -> Json:
        check_assumable(self._account, request["RoleArn"])
        name = request["ImageName"]
        arn, now = self._account.arn(IMAGE.kind, name), self._account.now()
        body = {member: value for member, value in request.items() if member != "Tags"} | {
            "Key": name,
            "ImageArn": arn,
            "ImageStatus": "CREATING",
            "CreationTime": now,
            "LastModifiedTime": now,
            "LastVersion": 0,
        }
        try:
            self._records.create(IMAGE.kind, name, arn, body, request.get("Tags"))
        except AlreadyRecordedError:
            raise in_use("create", IMAGE, arn, "it already exists") from None
        self._settling.later(partial(self._reach, IMAGE, name))
        return {"ImageArn": arn}

    def _update(self, request: Json) -> Json:
        name = request.pop("ImageName")
        if "RoleArn" in request:
            check_assumable(self._account, request["RoleArn"])
        with self._records.transaction():
            self._check_settled("update", IMAGE, self._known(name))
            with self._records.changing(IMAGE.kind, name) as body:
                for member in request.pop("DeleteProperties", []):
                    body.pop(member, None)
                body.update(request, ImageStatus="UPDATING", LastModifiedTime=self._account.now())
        self._settling.later(partial(self._reach, IMAGE, name))
        return {"ImageArn": body["ImageArn"]}

    def _delete(self, request: Json) -> Json:
        name = request["ImageName"]
        with self._records.transaction():
            body = self._known(name)
            if self._versions(name):
                raise in_use("delete", IMAGE, body["ImageArn"], "ImageVersion(s) are associated with it")
            self._leave(IMAGE, body)
        return {}

    def _list(self, request: Json) -> Json:
        return _page(self._records.all(IMAGE.kind), request, name="ImageName", summaries="Images")

    def _create_version(self, request: Json) -> Json:
        name, token, aliases = request["ImageName"], request["ClientToken"], request.get("Aliases", [])
        place = _IN_ECR.fullmatch(request["BaseImage"])
        if place is None:
            raise invalid(f"BaseImage {request['BaseImage']} is not the address of an image in Amazon ECR.")
        problem = self._problem(place)
        with self._records.transaction():
            image = self._known(name)
            for each in self._versions(name):
                if each["ClientToken"] == token:
                    return {"ImageVersionArn": each["ImageVersionArn"]}
            self._check_settled("create a version of", IMAGE, image)
            self._check_aliases(name, aliases)
            with self._records.changing(IMAGE.kind, name) as body:
                body["LastVersion"] += 1
                number = body["LastVersion"]
            key, now = f"{name}/{number}", self._account.now()
            arn = self._account.arn(VERSION.kind, key)
            body = request | {
                "Key": key,
                "Aliases": aliases,
                "ImageArn": image["ImageArn"],
                "ImageVersionArn": arn,
                "ImageVersionStatus": "CREATING",
                "ContainerImage": request["BaseImage"],
                "Version": number,
                "CreationTime": now,
                "LastModifiedTime": now,
            }
            self._records.create(VERSION.kind, key, arn, body)
        self._settling.later(partial(self._reach, VERSION, key, problem))
        return {"ImageVersionArn": arn}

    def _problem(self, place: re.Match[str]) -> str:
        """Why there is no such image in ECR; nothing when there is, or when it is of another account or region."""
        if (place["account"], place["region"]) != (self._account.account_id, self._account.region):
            return ""
        image: Any = {"imageDigest": place["digest"]} if place["digest"] else {"imageTag": place["tag"] or "latest"}
        try:
            self._account.ecr.describe_images(repositoryName=place["repository"], imageIds=[image])
        except ClientError as error:
            return f"ClientError: {error.response['Error']['Message']}"
        return ""

    def _version(self, request: Json) -> Json:
        """The one asked for by number or alias, else the newest. Raises AwsError ResourceNotFound."""
        name = request["ImageName"]
        self._known(name)
        number, alias = request.get("Version"), request.get("Alias")
        found = [
            body
            for body in self._versions(name)
            if number in (None, body["Version"]) and (alias is None or alias in body["Aliases"])
        ]
        if not found:
            asked = number if number is not None else alias or "any"
            raise AwsError("ResourceNotFound", f"ImageVersion [{name}/{asked}] does not exist.")
        return max(found, key=lambda body: int(body["Version"]))

    def _update_version(self, request: Json) -> Json:
        with self._records.transaction():
            known = self._version(request)
            added = request.get("AliasesToAdd", [])
            self._check_aliases(request["ImageName"], [one for one in added if one not in known["Aliases"]])
            with self._records.changing(VERSION.kind, known["Key"]) as body:
                kept = [one for one in body["Aliases"] if one not in request.get("AliasesToDelete", [])]
                body["Aliases"] = list(dict.fromkeys([*kept, *added]))
                body.update({member: request[member] for member in _MENDED if member in request})
                body["LastModifiedTime"] = self._account.now()
        return {"ImageVersionArn": known["ImageVersionArn"]}

    def _delete_version(self, request: Json) -> Json:
        if "Version" not in request and "Alias" not in request:
            raise invalid("Give either Version or Alias.")
        with self._records.transaction():
            self._leave(VERSION, self._version(request))
        return {}

    def _list_versions(self, request: Json) -> Json:
        name = request.pop("ImageName")
        self._known(name)
        return _page(self._versions(name), request, name="Key", summaries="ImageVersions")

    def _list_aliases(self, request: Json) -> Json:
        self._known(request["ImageName"])
        versions = self._versions(request["ImageName"])
        number, alias = request.get("Version"), request.get("Alias")
        if number is not None or alias is not None:
            versions = [self._version(request)]
        aliases = sorted(one for body in versions for one in body["Aliases"] if alias in (None, one))
        begin, size = int(request.get("NextToken") or 0), request.get("MaxResults", 100)
        rest = len(aliases) > begin + size
        return {
            "SageMakerImageVersionAliases": aliases[begin : begin + size],
            "NextToken": str(begin + size) if rest else None,
        }

    def _versions(self, name: str) -> list[Json]:
        return [body for body in self._records.all(VERSION.kind) if body["ImageName"] == name]

    def _check_aliases(self, name: str, aliases: list[str]) -> None:
        for body in self._versions(name):
            if taken := sorted(set(aliases) & set(body["Aliases"])):
                raise in_use("name", VERSION, f"{name}/{taken[0]}", f"version {body['Version']} has that alias")

    def _known(self, name: str) -> Json:
        body = self._records.get(IMAGE.kind, name)
        if body is None:
            raise AwsError("ResourceNotFound", f"Image [{self._account.arn(IMAGE.kind, name)}] does not exist.")
        return body

    @staticmethod
    def _check_settled(verb: str, kind: Kind, body: Json) -> None:
        if (status := body[f"{kind.noun}Status"]) in ("UPDATING", "DELETING"):
            raise in_use(verb, kind, body[f"{kind.noun}Arn"], f"it is {status}")

    def _leave(self, kind: Kind, body: Json) -> None:
        if (status := body[f"{kind.noun}Status"]) in ("CREATING", "UPDATING", "DELETING"):
            raise in_use("delete", kind, body[f"{kind.noun}Arn"], f"it is {status}")
        with self._records.changing(kind.kind, body["Key"]) as changed:
            changed[f"{kind.noun}Status"] = "DELETING"
        self._settling.later(lambda: self._forget(kind, body["Key"]))

    def _forget(self, kind: Kind, key: str) -> None:
        self._records.delete(kind.kind, key)

    def _reach(self, kind: Kind, key: str, problem: str = "") -> None:
        with self._records.transaction():
            known = self._records.get(kind.kind, key)
            if known is None or known[f"{kind.noun}Status"] not in ("CREATING", "UPDATING"):
                return
            with self._records.changing(kind.kind, key) as body:
                body[f"{kind.noun}Status"] = "CREATE_FAILED" if problem else "CREATED"
                if problem:
                    body["FailureReason"] = problem


def _page(records: list[Json], request: Json, *, name: str, summaries: str) -> Json:
    asked = dict(request)
    asked["SortBy"] = _SORTED_BY[asked.get("SortBy", "CREATION_TIME")]
    asked["SortOrder"] = asked.get("SortOrder", "DESCENDING").capitalize()
    return listing.page(records, asked, name=name, summaries=summaries)
