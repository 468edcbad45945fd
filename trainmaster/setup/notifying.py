"""Where messages go: one address, of Slack, Teams, mail or a webhook of your own, and the block of Prefect's that sends there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from trainmaster.errors import NotConfiguredError

VARIABLE = "TRAINMASTER_NOTIFY_URL"
BLOCK = "trainmaster-notifications"
_SLACK_HOSTS = ("hooks.slack.com", "hooks.slack-gov.com")
_TEAMS_DOMAINS = (".logic.azure.com", ".powerplatform.com")
_KINDS = (
    "https://hooks.slack.com/services/… (Slack), a workflow's https://….logic.azure.com/… (Teams),"
    " mailtos://user:password@smtp.example.com?to=people@example.com (mail), or any other https:// address, which is sent"
    ' {"subject", "body"} as JSON'
)


@dataclass(frozen=True)
class Sender:
    """A block of Prefect's: its type, by slug, and its fields. The address is a secret in each, which Prefect keeps encrypted."""

    block_type: str
    data: Mapping[str, Any] = field(repr=False)
    says: str
    """What it is and whom it reaches, without what is secret."""


def sender_of(address: str) -> Sender:
    """The block that sends to an address. Raises NotConfiguredError, which does not quote it."""
    try:
        parts = urlsplit(address)
        host, scheme = parts.hostname or "", parts.scheme
    except ValueError:
        host = scheme = ""
    if scheme in ("http", "https") and host:
        return _of_web(address, host)
    if scheme in ("mailto", "mailtos", "slack") and host:
        # Prefect has no block for mail over SMTP; that for Slack hands whatever is not Slack's own on to Apprise, which has.
        return Sender("slack-webhook", {"url": address}, f"{scheme} by way of {host}" if scheme != "slack" else "Slack")
    raise NotConfiguredError(f"{VARIABLE} is no address messages can be sent to. Give it one of these: {_KINDS}.")


def _of_web(address: str, host: str) -> Sender:
    if host in _SLACK_HOSTS:
        return Sender("slack-webhook", {"url": address}, "Slack")
    if host.endswith(_TEAMS_DOMAINS):
        return Sender("ms-teams-webhook", {"url": address}, "Microsoft Teams")
    data = {
        "name": "people",
        "method": "POST",
        # The address itself may hold a token, and of this block's fields only these are encrypted.
        "url": "{{address}}",
        "json_data": {"subject": "{{subject}}", "body": "{{body}}"},
        "secrets": {"address": address},
    }
    return Sender("custom-webhook", data, f"a webhook of {host}")
