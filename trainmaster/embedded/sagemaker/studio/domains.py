"""Domains and their user profiles."""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from trainmaster.embedded.sagemaker.roles import check_assumable
from trainmaster.embedded.sagemaker.studio import attached
from trainmaster.embedded.sagemaker.studio.parts import (
    APP,
    DELETING,
    DOMAIN,
    LIVING,
    PROFILE,
    SPACE,
    UPDATING,
    Parts,
    in_use,
    merged,
)
from trainmaster.embedded.sagemaker.wire import Json, invalid

if TYPE_CHECKING:
    from trainmaster.embedded.sagemaker.api import Operation

_FIRST_UID = 200005


class Domains:
    """A domain's home file system is a real one of EFS; like all of moto's it is made anew after a restart."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._account = parts, parts.account

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {
            "CreateDomain": self._create,
            "DescribeDomain": lambda request: self._parts.known(DOMAIN, request["DomainId"]),
            "UpdateDomain": self._update,
            "DeleteDomain": self._delete,
            "ListDomains": lambda request: self._parts.page(request, "Domains", self._parts.all(DOMAIN)),
            "CreateUserProfile": self._create_profile,
            "DescribeUserProfile": lambda request: self._parts.known(PROFILE, _profile_key(request)),
            "UpdateUserProfile": self._update_profile,
            "DeleteUserProfile": self._delete_profile,
            "ListUserProfiles": self._list_profiles,
        }

    def recover(self) -> None:
        """Give domains of an earlier process a home again, and end what was on its way."""
        for body in self._parts.all(DOMAIN):
            if body["Status"] == DELETING:
                self._parts.forget(DOMAIN, body["Key"])
            else:
                home = self._home(body["DomainId"], body["DomainArn"])
                with self._parts.changing(DOMAIN, body["Key"]) as changed:
                    changed["HomeEfsFileSystemId"] = home
                self._parts.settle(DOMAIN, body["Key"])
        for body in self._parts.all(PROFILE):
            if body["Status"] == DELETING:
                self._parts.forget(PROFILE, body["Key"])
            else:
                self._parts.settle(PROFILE, body["Key"])

    def _create(self, request: Json) -> Json:
        settings, name = request["DefaultUserSettings"], request["DomainName"]
        if ("VpcId" in request) != bool(request.get("SubnetIds")):
            raise invalid("VpcId and SubnetIds go together.")
        if "ExecutionRole" not in settings:
            raise invalid("DefaultUserSettings needs an ExecutionRole.")
        check_assumable(self._account, settings["ExecutionRole"])
        self._check_network(request)
        attached.check(self._account, settings)
        domain = "d-" + "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(12))
        body = {member: value for member, value in request.items() if member != "Tags"}
        defaults: Json = {"AppNetworkAccessType": "PublicInternetOnly"}
        with self._parts.together():
            for each in self._parts.all(DOMAIN):
                if each["DomainName"] == name:
                    raise in_use("create", DOMAIN, each["DomainArn"], f"there is one of the name {name} already")
            arn = self._parts.create(
                DOMAIN,
                domain,
                defaults | body | {"DomainId": domain, "Url": f"{self._account.endpoint_url}/_studio/{domain}"},
                request.get("Tags"),
            )
        home = self._home(domain, arn)
        self._let_in_homes(domain, request.get("VpcId"))
        self._parts.settle(DOMAIN, domain, HomeEfsFileSystemId=home)
        return {"DomainArn": arn, "DomainId": domain, "Url": f"{self._account.endpoint_url}/_studio/{domain}"}

    def _update(self, request: Json) -> Json:
        domain = request.pop("DomainId")
        self._check_network(request)
        attached.check(self._account, request.get("DefaultUserSettings", {}))
        if role := request.get("DefaultUserSettings", {}).get("ExecutionRole"):
            check_assumable(self._account, role)
        if "DomainSettingsForUpdate" in request:
            request["DomainSettings"] = request.pop("DomainSettingsForUpdate")
        with self._parts.together():
            arn = self._parts.begin(DOMAIN, domain, UPDATING, "update")["DomainArn"]
            with self._parts.changing(DOMAIN, domain) as body:
                body.update(merged(body, request))
        self._parts.settle(DOMAIN, domain)
        return {"DomainArn": arn}

    def _delete(self, request: Json) -> Json:
        domain = request["DomainId"]
        with self._parts.together():
            arn = self._parts.known(DOMAIN, domain)["DomainArn"]
            for kind, plural in ((APP, "App(s)"), (SPACE, "Space(s)"), (PROFILE, "UserProfile(s)")):
                if any(kind is not APP or body["Status"] in LIVING for body in self._parts.all(kind, domain)):
                    raise in_use("delete", DOMAIN, arn, f"{plural} are associated with it")
            home = self._parts.begin(DOMAIN, domain, DELETING, "delete").get("HomeEfsFileSystemId")
        for app in self._parts.all(APP, domain):
            self._parts.forget(APP, app["Key"])
        if home and request.get("RetentionPolicy", {}).get("HomeEfsFileSystem") == "Delete":
            with suppress(ClientError):  # somebody else's, or mounted: AWS leaves it as well
                self._account.efs.delete_file_system(FileSystemId=home)
        self._parts.remove(DOMAIN, domain)
        return {}

    def _create_profile(self, request: Json) -> Json:
        if "SingleSignOnUserIdentifier" in request or "SingleSignOnUserValue" in request:
            raise invalid("The embedded AWS has no IAM Identity Center: SingleSignOnUserIdentifier cannot be given.")
        if role := request.get("UserSettings", {}).get("ExecutionRole"):
            check_assumable(self._account, role)
        attached.check(self._account, request.get("UserSettings", {}))
        domain, key = request["DomainId"], _profile_key(request)
        with self._parts.together():
            self._parts.serving(DOMAIN, domain)
            taken = [int(each["HomeEfsFileSystemUid"]) for each in self._parts.all(PROFILE, domain)]
            body = {member: value for member, value in request.items() if member != "Tags"}
            arn = self._parts.create(
                PROFILE,
                key,
                body | {"HomeEfsFileSystemUid": str(max([_FIRST_UID - 1, *taken]) + 1)},
                request.get("Tags"),
            )
        self._parts.settle(PROFILE, key)
        return {"UserProfileArn": arn}

    def _update_profile(self, request: Json) -> Json:
        key, given = _profile_key(request), request.get("UserSettings", {})
        attached.check(self._account, given)
        if role := given.get("ExecutionRole"):
            check_assumable(self._account, role)
        with self._parts.together():
            arn = self._parts.begin(PROFILE, key, UPDATING, "update")["UserProfileArn"]
            with self._parts.changing(PROFILE, key) as body:
                body["UserSettings"] = merged(body.get("UserSettings", {}), given)
        self._parts.settle(PROFILE, key)
        return {"UserProfileArn": arn}

    def _delete_profile(self, request: Json) -> Json:
        key, name = _profile_key(request), request["UserProfileName"]
        with self._parts.together():
            arn = self._parts.known(PROFILE, key)["UserProfileArn"]
            if any(
                body.get("UserProfileName") == name and body["Status"] in LIVING
                for body in self._parts.all(APP, request["DomainId"])
            ):
                raise in_use("delete", PROFILE, arn, "App(s) are associated with it")
            if any(
                body.get("OwnershipSettings", {}).get("OwnerUserProfileName") == name
                for body in self._parts.all(SPACE, request["DomainId"])
            ):
                raise in_use("delete", PROFILE, arn, "Space(s) are associated with it")
            self._parts.begin(PROFILE, key, DELETING, "delete")
        self._parts.remove(PROFILE, key)
        return {}

    def _list_profiles(self, request: Json) -> Json:
        domain, contains = request.pop("DomainIdEquals", None), request.pop("UserProfileNameContains", "")
        found = [body for body in self._parts.all(PROFILE, domain) if contains in body["UserProfileName"]]
        return self._parts.page(request, "UserProfiles", found)

    def _check_network(self, request: Json) -> None:
        """Raises AWS's refusal of a VPC or subnets that are not there."""
        subnets, vpc = request.get("SubnetIds", []), request.get("VpcId")
        if not subnets:
            return
        try:
            found: list[Any] = self._account.ec2.describe_subnets(SubnetIds=subnets)["Subnets"]
        except ClientError as error:
            raise invalid(error.response["Error"]["Message"]) from None
        if vpc and (elsewhere := [each["SubnetId"] for each in found if each["VpcId"] != vpc]):
            raise invalid(f"The subnets {', '.join(elsewhere)} do not belong to the VPC {vpc}.")

    def _home(self, domain: str, arn: str) -> str:
        tags = [{"Key": "ManagedByAmazonSageMakerResource", "Value": arn}]
        made: Any = self._account.efs.create_file_system(CreationToken=domain, Encrypted=True, Tags=tags)
        return str(made["FileSystemId"])

    def _let_in_homes(self, domain: str, vpc: str | None) -> None:
        """The two security groups by which SageMaker, and whoever else is in the second, reaches the homes; they outlive the domain."""
        ec2 = self._account.ec2
        inbound, outbound = (
            ec2.create_security_group(
                GroupName=f"security-group-for-{side}-nfs-{domain}",
                Description=f"{side.capitalize()} NFS of domain {domain}",
                **({"VpcId": vpc} if vpc else {}),
            )["GroupId"]
            for side in ("inbound", "outbound")
        )
        nfs = {"IpProtocol": "tcp", "FromPort": 2049, "ToPort": 2049, "UserIdGroupPairs": [{"GroupId": outbound}]}
        ec2.authorize_security_group_ingress(GroupId=inbound, IpPermissions=[nfs])


def _profile_key(request: Json) -> str:
    return f"{request['DomainId']}/{request['UserProfileName']}"
