"""Presigned addresses of Studio: made for a profile, they lead a browser into JupyterLab, once."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from werkzeug.wrappers import Request, Response

from trainmaster.embedded.sagemaker.studio.apps import CANVAS, CODE_EDITOR, JUPYTERLAB, Apps
from trainmaster.embedded.sagemaker.studio.parts import APP, DOMAIN, IN_SERVICE, PROFILE, SPACE, Parts
from trainmaster.embedded.sagemaker.studio.tickets import Tickets, Visit
from trainmaster.embedded.sagemaker.wire import Json, invalid

if TYPE_CHECKING:
    from trainmaster.embedded.sagemaker.api import Operation

PREFIX = "/_studio/"
_EXPIRES_SECONDS = 300
_LANDINGS = ("studio:", *(f"app:{app_type}:" for app_type in (JUPYTERLAB, CODE_EDITOR, CANVAS)))
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
}


class Entrance:
    """What a presigned address answers is a page for people, or the way into JupyterLab; no log has either address."""

    def __init__(self, parts: Parts, apps: Apps) -> None:
        self._parts, self._apps, self._tickets = parts, apps, Tickets()

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {"CreatePresignedDomainUrl": self._create}

    def answer(self, request: Request) -> Response:
        """A redirect into the space's JupyterLab; else a page that says what is there, or why there is nothing."""
        if request.method != "GET":
            return _page("Open this address in a browser", "Only GET leads into Studio.", 405)
        visit = self._tickets.take(request.path.removeprefix(PREFIX), now=self._parts.account.now())
        if visit is None:
            return _page(
                "This address leads nowhere any more",
                "A presigned address lets one visitor in, once, and for five minutes at most. Ask for another: "
                "trainmaster connect, or aws sagemaker create-presigned-domain-url.",
                403,
            )
        kind = next((kind for kind in (JUPYTERLAB, CODE_EDITOR, CANVAS) if f"app:{kind}:" in visit.landing), "")
        if kind:
            return self._into(visit, kind, visit.landing.removeprefix(f"app:{kind}:"))
        return self._home(visit)

    def _create(self, request: Json) -> Json:
        domain, profile, space = request["DomainId"], request["UserProfileName"], request.get("SpaceName", "")
        known = self._parts.known(DOMAIN, domain)
        if known["AuthMode"] != "IAM":
            raise invalid(f"Domain [{known['DomainArn']}] does not use IAM authentication: it has no presigned URLs.")
        self._parts.serving(PROFILE, f"{domain}/{profile}")
        if space:
            self._check_owner(self._parts.serving(SPACE, f"{domain}/{space}"), profile)
        landing = request.get("LandingUri", "studio::")
        if not landing.startswith(_LANDINGS):
            raise invalid(f"LandingUri {landing} must begin with one of {', '.join(_LANDINGS)}")
        visit = Visit(domain, profile, space, landing)
        seconds = request.get("ExpiresInSeconds", _EXPIRES_SECONDS)
        ticket = self._tickets.issue(visit, now=self._parts.account.now(), seconds=seconds)
        return {"AuthorizedUrl": f"{self._parts.account.endpoint_url}{PREFIX}{ticket}"}

    @staticmethod
    def _check_owner(space: Json, profile: str) -> None:
        owner = space.get("OwnershipSettings", {}).get("OwnerUserProfileName", profile)
        private = space.get("SpaceSharingSettings", {}).get("SharingType") == "Private"
        if private and owner != profile:
            raise invalid(f"Space [{space['SpaceArn']}] is private: UserProfile {profile} is not its owner.")

    def _into(self, visit: Visit, kind: str, path: str) -> Response:
        owner = visit.profile if kind == CANVAS else visit.space
        app = self._parts.find(APP, f"{visit.domain}/{owner}/{kind.lower()}/default")
        if app is None or app["Status"] != IN_SERVICE:
            status = app["Status"] if app else "not there"
            return _page(f"{kind} is {status}", f"The app of {owner or visit.profile} must be InService first.", 409)
        lab = self._apps.lab(app)
        if lab:
            return Response(status=302, headers={"Location": lab.url(path or "lab"), **_HEADERS})
        self._apps.visited(app)
        return _page(
            f"{kind} of {owner}",
            f"On AWS this is {kind}, running on {app['ResourceSpec']['InstanceType']}. The embedded AWS keeps its app, its "
            "statuses and its costs, and has no such program to open.",
        )

    def _home(self, visit: Visit) -> Response:
        rows = [
            f"{space['SpaceName']}: {space['Status']}"
            for space in self._parts.all(SPACE, visit.domain)
            if space.get("OwnershipSettings", {}).get("OwnerUserProfileName", visit.profile) == visit.profile
        ]
        return _page(f"Studio of {visit.profile}", "Spaces: " + ("; ".join(rows) or "none yet") + ".")


def _page(title: str, text: str, status: int = 200) -> Response:
    content = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>"
        "<style>body{font:1.1rem/1.5 sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}</style>"
        f"<h1>{escape(title)}</h1><p>{escape(text)}</p></html>"
    )
    return Response(content, status=status, content_type="text/html; charset=utf-8", headers=_HEADERS)
