"""The AMIs that SSM's public parameters name and moto lacks: Ubuntu's and AWS's for deep learning. They start nothing here."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime

from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami
from werkzeug.wrappers import Response

from trainmaster.embedded.calls import Call
from trainmaster.embedded.sagemaker.account import Account

SERVICE = "ssm"
_NAMED = re.compile(
    r"/aws/service/(?:canonical/ubuntu/server/(?P<release>2[0-9]\.04)/stable/current/(?P<ubuntu>amd64|arm64)/hvm/ebs-gp[23]"
    r"|deeplearning/ami/(?P<learning>x86_64|arm64)/(?P<name>[a-z0-9.-]+)/latest)/ami-id"
)
_ARCHITECTURES = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "arm64"}
_OWNERS = {True: "099720109477", False: "898082745236"}
_MADE = datetime(2026, 1, 1, tzinfo=UTC)


def answered(account: Account, call: Call) -> Response | None:
    """GetParameter of one that names an AMI; None for everything else, which is moto's. EC2 knows the AMI from then on."""
    if call.operation != "GetParameter":
        return None
    name = json.loads(call.request.get_data() or b"{}").get("Name")
    named = _NAMED.fullmatch(name) if isinstance(name, str) else None
    if named is None:
        return None
    parameter = {
        "Name": name,
        "Type": "String",
        "Value": _known(account, named),
        "Version": 1,
        "LastModifiedDate": _MADE.timestamp(),
        "ARN": f"arn:aws:ssm:{account.region}::parameter{name}",
        "DataType": "aws:ec2:image",
    }
    return Response(json.dumps({"Parameter": parameter}), content_type="application/x-amz-json-1.1")


def _known(account: Account, named: re.Match[str]) -> str:
    backend = ec2_backends[account.account_id][account.region]
    id_ = f"ami-{hashlib.sha256(named[0].encode()).hexdigest()[:17]}"
    is_ubuntu = named["release"] is not None
    title = f"ubuntu/images/hvm-ssd-gp3/ubuntu-{named['release']}" if is_ubuntu else f"deep-learning-{named['name']}"
    backend.amis.setdefault(
        id_,
        Ami(
            backend,
            ami_id=id_,
            name=title,
            description=f"What {named[0]} names, without anything in it",
            owner_id=_OWNERS[is_ubuntu],
            owner_alias="amazon",
            public=True,
            virtualization_type="hvm",
            architecture=_ARCHITECTURES[named["ubuntu"] or named["learning"]],
            root_device_type="ebs",
            root_device_name="/dev/sda1",
            creation_date=_MADE.replace(tzinfo=None),
        ),
    )
    return id_
