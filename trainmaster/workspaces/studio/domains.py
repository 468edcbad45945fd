"""The Studio domain that workspaces are in, the user's profile there, and the home folder that both share with EC2."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from trainmaster.errors import NotConfiguredError, RefusedError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.spec import spec_of
from trainmaster.workspaces.studio import parts as studio_parts
from trainmaster.workspaces.studio.parts import Part, ensured, updated
from trainmaster.workspaces.studio.plan import Found, desired, domain_request, profile_changes, profile_name
from trainmaster.workspaces.workspace import Workspace

_log = logging.getLogger(__name__)
HOME_GID = 1001
"""Of every home folder that SageMaker makes on a domain's EFS; the uid is the profile's own."""


@dataclass(frozen=True)
class SharedHome:
    """A user's home folder on the domain's EFS: the same files, by the same uid and gid, in Studio and on EC2."""

    file_system_id: str
    path: str
    uid: int
    gid: int = HOME_GID


def domain_name(desk: Desk, workspace: Workspace) -> str:
    """The one its template names, else that of the settings."""
    return spec_of(workspace).template.service_config.domain or desk.settings.studio_domain


def find_domain(desk: Desk, workspace: Workspace) -> Found:
    """The workspace's domain, as AWS describes it; by its id where that is known, else by its name."""
    known, describe = workspace.resources.get("domain_id"), desk.client("sagemaker").describe_domain
    there = studio_parts.found(describe, DomainId=known) if known else None
    return there or domain_named(desk, domain_name(desk, workspace))


def require_links(domain: Mapping[str, Any]) -> None:
    """Raises RefusedError for a domain people sign in to otherwise: AWS makes links only into those of IAM."""
    if domain.get("AuthMode") == "SSO":
        raise RefusedError(
            f"People sign in to domain {domain['DomainName']} by IAM Identity Center, and AWS makes no links into such a domain. Name"
            " another in TRAINMASTER_STUDIO_DOMAIN or in the template; one that is not there is made."
        )


def domain_part(desk: Desk, workspace: Workspace) -> Part:
    """To wait for."""
    return Part("domain", domain_name(desk, workspace), lambda: find_domain(desk, workspace))


def domain_named(desk: Desk, name: str) -> Found:
    """The oldest of that name, which everybody takes: AWS itself knows domains by their ids alone."""
    sagemaker = desk.client("sagemaker")
    pages = sagemaker.get_paginator("list_domains").paginate(PaginationConfig={"PageSize": 100})
    named = [one for page in pages for one in page["Domains"] if one["DomainName"] == name]
    if not named:
        return None
    first, *others = sorted(named, key=lambda one: (one["CreationTime"], one["DomainId"]))
    for other in others:
        _log.warning("domain %s is a second one named %s; %s is used", other["DomainId"], name, first["DomainId"])
    return studio_parts.found(sagemaker.describe_domain, DomainId=first["DomainId"])


def ensure_domain(desk: Desk, workspace: Workspace) -> Workspace:
    """In service, made when there is none; its id and file system are written down."""
    sagemaker, part = desk.client("sagemaker"), domain_part(desk, workspace)
    domain = ensured(desk, part, lambda: sagemaker.create_domain(**wanted_domain(desk, workspace)))
    require_links(domain)
    ids = {"domain_id": domain["DomainId"], "efs_id": domain.get("HomeEfsFileSystemId", "")}
    return desk.catalogue.workspaces.note_resources(workspace, **{key: value for key, value in ids.items() if value})


def ensure_profile(desk: Desk, workspace: Workspace) -> tuple[Workspace, Mapping[str, Any]]:
    """Of the user, in the workspace's domain, which is there; written down, and as AWS describes it."""
    sagemaker, domain_id = desk.client("sagemaker"), workspace.resources["domain_id"]
    wanted = desired(workspace, spec_of(workspace), domain={}, role=role_of(desk), now=desk.ledger.now())
    name = wanted.profile["UserProfileName"]
    part = Part("user profile", name, lambda: find_profile(desk, workspace))
    profile = ensured(desk, part, lambda: sagemaker.create_user_profile(DomainId=domain_id, **wanted.profile))
    if changes := profile_changes(wanted, profile):
        changed = partial(sagemaker.update_user_profile, DomainId=domain_id, UserProfileName=name, UserSettings=changes)
        profile = updated(desk, part, changed)
    return desk.catalogue.workspaces.note_resources(workspace, user_profile=name), profile


def find_profile(desk: Desk, workspace: Workspace) -> Found:
    """The user's, as AWS describes it; None where its domain is not known either."""
    domain_id = workspace.resources.get("domain_id")
    if not domain_id:
        return None
    describe = desk.client("sagemaker").describe_user_profile
    return studio_parts.found(describe, DomainId=domain_id, UserProfileName=profile_name(workspace))


def shared_home(desk: Desk, workspace: Workspace) -> tuple[Workspace, SharedHome]:
    """The user's home folder on the domain's EFS, domain and profile made where they are not there; for EC2 to mount.

    Raises WorkspaceFailedError, NotConfiguredError where the domain has no file system.
    """
    workspace, profile = ensure_profile(desk, ensure_domain(desk, workspace))
    efs_id, uid = workspace.resources.get("efs_id"), profile.get("HomeEfsFileSystemUid")
    if not efs_id or not uid:
        raise NotConfiguredError(
            f"Domain {domain_name(desk, workspace)} has no EFS of its own, so {workspace.name} has none to share. Choose another"
            " domain, or a template without shared_efs."
        )
    return workspace, SharedHome(efs_id, f"/{uid}", int(uid))


def wanted_domain(desk: Desk, workspace: Workspace) -> dict[str, Any]:
    """The request that makes the domain, in the network its template names or else in the account's default one.

    Raises NotConfiguredError where there is neither.
    """
    config, name = spec_of(workspace).template.service_config, domain_name(desk, workspace)
    vpc_id, subnet_ids = config.vpc_id, config.subnet_ids
    ec2 = desk.client("ec2")
    if not vpc_id:
        vpcs = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        vpc_id = vpcs[0]["VpcId"] if vpcs else ""
    if vpc_id and not subnet_ids:
        subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc_id]}])["Subnets"]
        subnet_ids = tuple(sorted(one["SubnetId"] for one in subnets))[:16]
    if not subnet_ids:
        raise NotConfiguredError(
            f"Domain {name} needs a VPC with subnets, and the account has no default one in {desk.settings.region}. Name vpc_id"
            " and subnet_ids in the template."
        )
    return domain_request(name, role_of(desk), vpc_id, subnet_ids)


def role_of(desk: Desk) -> str:
    """What apps act as. Raises NotConfiguredError."""
    return desk.settings.required("execution_role_arn")
