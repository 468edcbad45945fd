"""Parts of Studio made and waited for by tests. Domains are named uniquely; what is in one is the test's alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

WITHIN = 120.0


class Studio:
    """A client of one embedded AWS."""

    def __init__(self, embedded: Any) -> None:
        self.sagemaker = embedded.client("sagemaker", parameter_validation=False)
        self.role: str = embedded.environment["TRAINMASTER_EXECUTION_ROLE_ARN"]

    def domain_request(self, **settings: Any) -> dict[str, Any]:
        """A sound CreateDomain request, unlike any before; `settings` are its DefaultUserSettings besides the role."""
        user = {"ExecutionRole": self.role, **settings}
        return {"DomainName": f"domain-{uuid4().hex[:8]}", "AuthMode": "IAM", "DefaultUserSettings": user}

    def domain(self, **settings: Any) -> str:
        """The id of one in service."""
        domain: str = self.sagemaker.create_domain(**self.domain_request(**settings))["DomainId"]
        self.until_domain(domain, "InService")
        return domain

    def profile(self, domain: str, name: str, **settings: Any) -> None:
        self.sagemaker.create_user_profile(DomainId=domain, UserProfileName=name, UserSettings=settings)
        self.until_profile(domain, name, "InService")

    def create_space(self, domain: str, name: str, owner: str, **settings: Any) -> None:
        self.sagemaker.create_space(
            DomainId=domain, SpaceName=name, SpaceSettings={"AppType": "JupyterLab", **settings},
            OwnershipSettings={"OwnerUserProfileName": owner}, SpaceSharingSettings={"SharingType": "Private"},
        )  # fmt: skip

    def space(self, domain: str, name: str, owner: str, **settings: Any) -> None:
        self.create_space(domain, name, owner, **settings)
        self.until_space(domain, name, "InService")

    def until_domain(self, domain: str, status: str) -> dict[str, Any]:
        return self._until(status, self.sagemaker.describe_domain, DomainId=domain)

    def until_profile(self, domain: str, name: str, status: str) -> dict[str, Any]:
        return self._until(status, self.sagemaker.describe_user_profile, DomainId=domain, UserProfileName=name)

    def until_space(self, domain: str, name: str, status: str) -> dict[str, Any]:
        return self._until(status, self.sagemaker.describe_space, DomainId=domain, SpaceName=name)

    def until_app(self, app: dict[str, str], status: str) -> dict[str, Any]:
        return self._until(status, self.sagemaker.describe_app, **app)

    @staticmethod
    def until(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + WITHIN
        while not condition():
            assert time.monotonic() < deadline, "it did not come about"
            time.sleep(0.05)

    def until_gone(self, describe: Callable[..., Any], **request: Any) -> None:
        deadline = time.monotonic() + WITHIN
        while True:
            try:
                described = describe(**request)
            except self.sagemaker.exceptions.ResourceNotFound:
                return
            assert described["Status"] == "Deleting"
            assert time.monotonic() < deadline, described
            time.sleep(0.02)

    def _until(self, status: str, describe: Callable[..., dict[str, Any]], **request: Any) -> dict[str, Any]:
        deadline = time.monotonic() + WITHIN
        while (described := describe(**request))["Status"] != status:
            assert described["Status"] not in ("Failed", "Deleted"), described
            assert time.monotonic() < deadline, described
            time.sleep(0.02)
        return described
