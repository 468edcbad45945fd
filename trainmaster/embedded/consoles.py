"""Machines whose user data ends by powering off: here they have done what it says a moment later, and nothing of it in truth."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from werkzeug.wrappers import Response

from trainmaster.embedded.calls import Call

_POWERS_OFF = re.compile(r"^(?:shutdown -h now|poweroff)\s*\Z", re.MULTILINE)
_SAYS = re.compile(r"^echo (?P<said>[^'\"$>]+?) > /dev/console$", re.MULTILINE)
_NEVER_INSTALLS = re.compile(r"\S+==\S*\+nowhere\b")
"""Stands for a version that nobody has published, so that what is done about a machine that fails can be tried."""
_WORKS = timedelta(seconds=1)


def power_off(backend: Any) -> None:
    """Stop those that have had their moment."""
    for instance in backend.all_instances():
        if instance.state == "running" and _POWERS_OFF.search(_user_data(instance)) and _has_worked(instance):
            backend.stop_instances([instance.id])


def console(backend: Any, call: Call) -> Response | None:
    """GetConsoleOutput of such a machine: what its user data says on the console; None for any other, which is moto's."""
    id_ = call.parameters.get("InstanceId", [""])[0]
    instance = next((one for one in backend.all_instances() if one.id == id_), None)
    script = _user_data(instance) if instance else ""
    if instance is None or not _POWERS_OFF.search(script):
        return None
    said = _said(script) if instance.state == "stopped" else ""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    output = base64.b64encode(said.encode()).decode()
    return Response(
        '<?xml version="1.0" encoding="UTF-8"?><GetConsoleOutputResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
        f"<requestId>console</requestId><instanceId>{id_}</instanceId><timestamp>{now}</timestamp><output>{output}</output>"
        "</GetConsoleOutputResponse>",
        content_type="text/xml;charset=UTF-8",
    )


def _said(script: str) -> str:
    if missing := _NEVER_INSTALLS.search(script):
        trap = re.search(r'echo "(?P<said>[^":$]+): line', script)
        failed = f"{trap['said']}\n" if trap else ""
        return f"ERROR: No matching distribution found for {missing[0]}\n{failed}"
    return "".join(f"{said}\n" for said in _SAYS.findall(script))


def _user_data(instance: Any) -> str:
    given = instance.user_data
    return str(given.decode() if hasattr(given, "decode") else given) if given else ""


def _has_worked(instance: Any) -> bool:
    launched = datetime.fromisoformat(str(instance.launch_time))
    return datetime.now(UTC) - launched.replace(tzinfo=launched.tzinfo or UTC) >= _WORKS
