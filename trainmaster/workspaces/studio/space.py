"""Studio: a space of the user's in a domain, with JupyterLab or Code Editor running in it."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from botocore.exceptions import ClientError

from trainmaster.aws.failures import is_missing, is_refusal
from trainmaster.errors import RefusedError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.images.current import attach, image_of
from trainmaster.workspaces.images.names import image_name, is_attached
from trainmaster.workspaces.kinds import Access, Seen, Step
from trainmaster.workspaces.spec import spec_of
from trainmaster.workspaces.studio import parts as studio_parts
from trainmaster.workspaces.studio.domains import (
    domain_part,
    ensure_domain,
    ensure_profile,
    find_domain,
    find_profile,
    require_links,
    role_of,
    wanted_domain,
)
from trainmaster.workspaces.studio.parts import Part, ensured, is_gone, removed, settled, updated
from trainmaster.workspaces.studio.plan import (
    APP_NAME,
    CANVAS,
    Described,
    Desired,
    Found,
    desired,
    plan,
    profile_name,
    stands,
)
from trainmaster.workspaces.tags import listed_tags
from trainmaster.workspaces.workspace import Workspace

_log = logging.getLogger(__name__)

ASKED_SINGLY = 2
"""So many workspaces are described one by one, which tells more of each; more of them are listed by domain."""
ENDED = frozenset({"Failed"})
"""Statuses of an app that AWS has taken away by itself."""
LINK_SECONDS, SESSION_SECONDS = 300, 43_200


class Studio:
    """Spaces and their apps; the domain and the user profile are shared with others and stay."""

    def look(self, desk: Desk, workspaces: Sequence[Workspace]) -> Mapping[UUID, Seen]:
        placed = [one for one in workspaces if "domain_id" in one.resources]
        if len(placed) <= ASKED_SINGLY:
            described = {one.id: self._described(desk, one) for one in placed}
        else:
            described = dict(_listed(desk, placed))
        return {one.id: stands(one, described.get(one.id, Described())) for one in workspaces}

    def plan_open(self, desk: Desk, workspace: Workspace) -> list[Step]:
        workspace, template = self._imaged(desk, workspace), spec_of(workspace).template
        domain = find_domain(desk, workspace)
        if domain is None:
            wanted, there = self._desired(desk, workspace, wanted_domain(desk, workspace)), Described()
        else:
            require_links(domain)
            placed = _placed(workspace, domain)
            wanted, there = self._desired(desk, placed, domain), _tagged(desk, self._described(desk, placed))
            there = replace(there, domain=domain, profile=find_profile(desk, placed))
        steps = plan(wanted, there)
        if template.is_compiled and not (domain and is_attached(domain, template)):
            steps.insert(int(domain is None), Step("attach", "image", image_name(template)))
        return steps

    def open(self, desk: Desk, workspace: Workspace) -> Workspace:
        note, template = desk.catalogue.workspaces.note_resources, spec_of(workspace).template
        workspace = ensure_domain(desk, workspace)
        if template.is_compiled:
            attach(desk, workspace.resources["domain_id"], template)
            settled(desk, domain_part(desk, workspace))
            version = self._imaged(desk, workspace).resources.get("image_version_arn", "")
            workspace = note(workspace, image_version_arn=version)
        workspace, _ = ensure_profile(desk, note(workspace, app_type=self._app_type(workspace)))
        if workspace.service_type == "sagemaker_studio":
            self._ensure_space(desk, workspace)
            workspace = note(workspace, space=workspace.slug)
        self._ensure_app(desk, workspace)
        self._ensure_tags(desk, workspace)
        return note(workspace, app_name=APP_NAME)

    def stop(self, desk: Desk, workspace: Workspace) -> None:
        if "domain_id" not in workspace.resources:
            return
        sagemaker, names = desk.client("sagemaker"), self._app_names(workspace)
        removed(desk, self._app(desk, workspace), lambda: sagemaker.delete_app(**names), nothing=ENDED)

    def delete(self, desk: Desk, workspace: Workspace) -> None:
        self.stop(desk, workspace)
        if "domain_id" not in workspace.resources or workspace.service_type != "sagemaker_studio":
            return
        names = {"DomainId": workspace.resources["domain_id"], "SpaceName": workspace.slug}
        sagemaker = desk.client("sagemaker")
        removed(desk, _space(desk, workspace), lambda: sagemaker.delete_space(**names))

    def access(self, desk: Desk, workspace: Workspace) -> Access:
        if not self._runs(desk, workspace):
            raise RefusedError(f"Workspace {workspace.name} does not run. Start it: trainmaster start {workspace.name}")
        of = {"SpaceName": workspace.slug} if workspace.service_type == "sagemaker_studio" else {}
        answer = desk.client("sagemaker").create_presigned_domain_url(
            DomainId=workspace.resources["domain_id"],
            UserProfileName=profile_name(workspace),
            ExpiresInSeconds=LINK_SECONDS,
            SessionExpirationDurationInSeconds=SESSION_SECONDS,
            LandingUri=f"app:{self._app_type(workspace)}:",
            **of,
        )
        return Access(url=answer["AuthorizedUrl"], secret=True, note=f"Good for {LINK_SECONDS // 60} minutes.")

    def _imaged(self, desk: Desk, workspace: Workspace) -> Workspace:
        """With the image of ours that its template is compiled to, if it is; one that runs goes on with the one it has.

        Raises RefusedError when that is not there yet.
        """
        template = spec_of(workspace).template
        if not template.is_compiled or self._runs(desk, workspace):
            return workspace
        image = image_of(desk, template)
        version = image.image_version_arn if image else ""
        return replace(workspace, resources={**workspace.resources, "image_version_arn": version})

    def _runs(self, desk: Desk, workspace: Workspace) -> bool:
        app = self._find_app(desk, workspace) if "domain_id" in workspace.resources else None
        return app is not None and app["Status"] == "InService"

    def _app_type(self, workspace: Workspace) -> str:
        return workspace.resources.get("app_type") or spec_of(workspace).template.service_config.app

    def _app_names(self, workspace: Workspace) -> dict[str, str]:
        return {
            "DomainId": workspace.resources["domain_id"],
            "SpaceName": workspace.slug,
            "AppType": self._app_type(workspace),
            "AppName": APP_NAME,
        }

    def _desired(self, desk: Desk, workspace: Workspace, domain: Mapping[str, Any]) -> Desired:
        spec = spec_of(workspace)
        return desired(workspace, spec, domain=domain, role=role_of(desk), now=desk.ledger.now())

    def _described(self, desk: Desk, workspace: Workspace) -> Described:
        is_space = workspace.service_type == "sagemaker_studio"
        space = _find_space(desk, workspace) if is_space else None
        return Described(space=space, app=self._find_app(desk, workspace) if space or not is_space else None)

    def _find_app(self, desk: Desk, workspace: Workspace) -> Found:
        return studio_parts.found(desk.client("sagemaker").describe_app, **self._app_names(workspace))

    def _app(self, desk: Desk, workspace: Workspace) -> Part:
        return Part(self._app_type(workspace), f"of {workspace.name}", lambda: self._find_app(desk, workspace))

    def _ensure_space(self, desk: Desk, workspace: Workspace) -> None:
        sagemaker, domain_id = desk.client("sagemaker"), workspace.resources["domain_id"]
        wanted = self._desired(desk, workspace, find_domain(desk, workspace) or {})
        request: Mapping[str, Any] = wanted.space or {}
        part = _space(desk, workspace)
        ensured(desk, part, lambda: sagemaker.create_space(DomainId=domain_id, **request))
        there = self._described(desk, workspace)
        for step in plan(wanted, Described({}, {}, there.space, there.app)):
            if (step.verb, step.noun) == ("update", "space"):
                runs = there.app is not None and there.app["Status"] not in ENDED
                self._update_space(desk, part, {"DomainId": domain_id, **step.request}, runs=runs)

    def _update_space(self, desk: Desk, part: Part, request: Mapping[str, Any], *, runs: bool) -> None:
        try:
            updated(desk, part, lambda: desk.client("sagemaker").update_space(**request))
        except ClientError as error:
            if not (runs and is_refusal(error)):
                raise
            _log.warning("the %s is not changed while its app runs, but when that is started again: %s", part, error)

    def _ensure_app(self, desk: Desk, workspace: Workspace) -> None:
        sagemaker, part = desk.client("sagemaker"), self._app(desk, workspace)
        request = self._desired(desk, workspace, {}).app
        domain_id = workspace.resources["domain_id"]
        ensured(desk, part, lambda: sagemaker.create_app(DomainId=domain_id, **request), anew=ENDED)

    def _ensure_tags(self, desk: Desk, workspace: Workspace) -> None:
        """Those asked for since they were made are on space and app as well."""
        there = _tagged(desk, self._described(desk, workspace))
        arns = {"space": (there.space or {}).get("SpaceArn"), "app": (there.app or {}).get("AppArn")}
        for step in plan(self._desired(desk, workspace, {}), replace(there, domain={}, profile={})):
            if step.verb == "tag":
                desk.client("sagemaker").add_tags(ResourceArn=arns[step.noun], **step.request)


def _tagged(desk: Desk, there: Described) -> Described:
    """With the tags of its space and of its app."""
    return replace(
        there,
        space_tags=_tags(desk, there.space, "SpaceArn"),
        app_tags=_tags(desk, there.app, "AppArn"),
    )


def _tags(desk: Desk, part: Found, arn: str) -> Mapping[str, str] | None:
    """None where there is no such part, or soon no longer."""
    if part is None or part["Status"] == "Deleting":
        return None
    try:
        pages = desk.client("sagemaker").get_paginator("list_tags").paginate(ResourceArn=part[arn])
        return listed_tags([tag for page in pages for tag in page["Tags"]])
    except ClientError as error:
        if not is_missing(error):
            raise
        return None


def _space(desk: Desk, workspace: Workspace) -> Part:
    return Part("space", workspace.slug, lambda: _find_space(desk, workspace))


def _find_space(desk: Desk, workspace: Workspace) -> Found:
    names = {"DomainId": workspace.resources["domain_id"], "SpaceName": workspace.slug}
    return studio_parts.found(desk.client("sagemaker").describe_space, **names)


def _placed(workspace: Workspace, domain: Mapping[str, Any]) -> Workspace:
    return replace(workspace, resources={**workspace.resources, "domain_id": domain["DomainId"]})


def _listed(desk: Desk, workspaces: Sequence[Workspace]) -> Iterator[tuple[UUID, Described]]:
    """From a list of spaces and one of apps for each domain, a hundred to a call."""
    sagemaker = desk.client("sagemaker")
    by_domain: dict[str, list[Workspace]] = defaultdict(list)
    for one in workspaces:
        by_domain[one.resources["domain_id"]].append(one)
    for domain_id, there in by_domain.items():
        spaces = {one["SpaceName"]: one for one in _pages(sagemaker, "list_spaces", "Spaces", domain_id)}
        apps = {
            one.get("SpaceName") or one["UserProfileName"]: one
            for one in _pages(sagemaker, "list_apps", "Apps", domain_id)
            if one["Status"] != "Deleted" and one["AppType"] in (CANVAS, "JupyterLab", "CodeEditor")
        }
        for one in there:
            is_canvas = one.service_type == "sagemaker_canvas"
            name = profile_name(one) if is_canvas else one.slug
            yield one.id, Described(space=None if is_canvas else spaces.get(name), app=apps.get(name))


def _pages(sagemaker: Any, operation: str, member: str, domain_id: str) -> Iterator[Mapping[str, Any]]:
    pages = sagemaker.get_paginator(operation).paginate(DomainIdEquals=domain_id, PaginationConfig={"PageSize": 100})
    try:
        for page in pages:
            yield from page[member]
    except ClientError as error:
        if not is_gone(error):  # the domain itself was deleted: it has none
            raise
