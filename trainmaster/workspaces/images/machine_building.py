"""Makes the image of a template for EC2: a machine installs what it names and powers off, and becomes an AMI; then it is removed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from trainmaster.aws.clients import renew
from trainmaster.aws.failures import code_of, is_refusal
from trainmaster.aws.polling import Patience, answers
from trainmaster.budget.budgets import Payer
from trainmaster.budget.charge import Reservation
from trainmaster.errors import ImageFailedError, NotConfiguredError, WaitTimedOutError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.images.building import Note
from trainmaster.workspaces.images.current import described_ami
from trainmaster.workspaces.images.fingerprint import fingerprint_of
from trainmaster.workspaces.images.machine_image import FAILED, MADE, MOST_MINUTES, build_script
from trainmaster.workspaces.images.names import ami_name, image_name
from trainmaster.workspaces.images.paying import Cost, reserved, settled
from trainmaster.workspaces.images.plan import IMAGE_FINGERPRINT_TAG
from trainmaster.workspaces.kinds import Step
from trainmaster.workspaces.studio.plan import Found
from trainmaster.workspaces.tags import TEMPLATE_TAG, listed_tags, tag_list
from trainmaster.workspaces.templates.template import Template

MACHINE, DISK_GB = "m5.large", 20
RESERVATION_TAG = "trainmaster:reservation"
_SLACK_MINUTES = 15
"""Beyond what the machine takes at most, until it is removed; AWS itself has powered it off by then."""
_IMAGE_MINUTES = 60
_CONSOLE_SECONDS = 600.0
_POLL = 15.0
_SHOWN_WITHIN = timedelta(minutes=2)
STATES = ("pending", "running", "stopping", "stopped")


def machine_cost(desk: Desk) -> Cost:
    """Of one machine with its disk. Raises UnknownPriceError."""
    region = desk.settings.region
    hourly = desk.prices.instance(MACHINE, "ec2", region).usd + desk.prices.storage_hour(DISK_GB, region, "ec2")
    return Cost(hourly, MOST_MINUTES + _SLACK_MINUTES + _IMAGE_MINUTES)


def machine_bill(desk: Desk, machine: Mapping[str, Any]) -> Decimal:
    """US dollars, of one that is removed now. Raises UnknownPriceError."""
    return machine_cost(desk).bill(machine["LaunchTime"], desk.ledger.now())


def plan_machine_image(desk: Desk, template: Template) -> list[Step]:
    """What is done until there is an AMI of the template as it is; empty when there is."""
    fingerprint = fingerprint_of(template)
    name = ami_name(template, fingerprint)
    image, builder = described_ami(desk.client("ec2"), name), find_builder(desk, template)
    steps = []
    if image is None:
        if builder is None:
            steps.append(Step("launch", "builder", f"{image_name(template)} on {MACHINE}"))
        if builder is None or builder["State"]["Name"] != "stopped":
            steps.append(Step("await", "builder", image_name(template)))
        steps.append(Step("create", "AMI", name))
    if image is None or image["State"] != "available":
        steps.append(Step("await", "AMI", name))
    if builder is not None or image is None:
        steps.append(Step("terminate", "builder", image_name(template)))
    return steps


def make_machine_image(desk: Desk, template: Template, payer: Payer, note: Note) -> list[Step]:
    """Carry out what the plan says, and wait for it; the steps that were taken. `note` is told each before it begins.

    Raises OverBudgetError before the machine is launched, ImageFailedError, WaitTimedOutError.
    """
    steps = plan_machine_image(desk, template)
    making = _Making(desk, template, payer)
    for step in steps:
        note(step.sentence())
        making.take(step)
    return steps


def find_builder(desk: Desk, template: Template) -> Found:
    """The machine that makes the image of the template as it is, unless it is gone; another of the same packages has its own."""
    filters = [
        {"Name": f"tag:{IMAGE_FINGERPRINT_TAG}", "Values": [fingerprint_of(template)]},
        {"Name": f"tag:{TEMPLATE_TAG}", "Values": [template.name]},
        {"Name": "instance-state-name", "Values": list(STATES)},
    ]
    found = desk.client("ec2").describe_instances(Filters=filters)["Reservations"]
    instances = [one for reservation in found for one in reservation["Instances"]]
    return min(instances, key=lambda one: (one["LaunchTime"], one["InstanceId"]), default=None)


class _Making:
    def __init__(self, desk: Desk, template: Template, payer: Payer) -> None:
        self._desk, self._template, self._payer = desk, template, payer
        self._ec2, self._fingerprint = desk.client("ec2"), fingerprint_of(template)
        self._name = ami_name(template, self._fingerprint)
        self._launched_at: datetime | None = None
        self._tags = {TEMPLATE_TAG: template.name, IMAGE_FINGERPRINT_TAG: self._fingerprint}

    def take(self, step: Step) -> None:
        actions: Mapping[tuple[str, str], Callable[[], None]] = {
            ("launch", "builder"): self._launch,
            ("await", "builder"): self._await_builder,
            ("create", "AMI"): self._create,
            ("await", "AMI"): self._await_image,
            ("terminate", "builder"): self._terminate,
        }
        actions[step.verb, step.noun]()

    def _launch(self) -> None:
        """One that was reserved and launched, and that somebody else removed since, is billed in full; then there is another, unless
        the image was made of it."""
        root = self._parent()  # what this refuses is reserved for by nobody
        if self._is_made():
            return
        known = self._reserved()
        try:
            self._run(known, root)
        except ClientError as error:
            if code_of(error) != "IdempotentInstanceTerminated":
                self._release_refused(known, error)
                raise
            if self._is_made():
                return
            settled(self._desk, known.key, lambda: known.charge.amount)
            self._run(self._reserved(), root)
        self._launched_at = self._desk.ledger.now()

    def _release_refused(self, known: Reservation, error: ClientError) -> None:
        """What EC2 will not launch costs nothing; a token of other parameters is of a machine that was launched."""
        if is_refusal(error) and code_of(error) != "IdempotentParameterMismatch" and self._find() is None:
            self._desk.ledger.release(known.key, known.position)

    def _reserved(self) -> Reservation:
        arn = f"arn:aws:ec2:{self._desk.settings.region}:{self._desk.account}:image/{self._name}"
        key = f"image-{self._template.name}-{self._fingerprint}"
        return reserved(self._desk, key, arn, machine_cost(self._desk), self._payer)

    def _run(self, reservation: Reservation, root: Mapping[str, Any]) -> None:
        tags = {
            **self._tags,
            "Name": image_name(self._template),
            RESERVATION_TAG: reservation.key,
        }
        disk = {"VolumeSize": DISK_GB, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
        self._ec2.run_instances(
            ImageId=root["ImageId"],
            InstanceType=MACHINE,
            MinCount=1,
            MaxCount=1,
            UserData=build_script(self._template),
            InstanceInitiatedShutdownBehavior="stop",
            ClientToken=hashlib.sha256(reservation.key.encode()).hexdigest(),
            MetadataOptions={"HttpTokens": "required", "HttpEndpoint": "enabled"},
            BlockDeviceMappings=[{"DeviceName": root["RootDeviceName"], "Ebs": disk}],
            TagSpecifications=[{"ResourceType": kind, "Tags": tag_list(tags)} for kind in ("instance", "volume")],
            **({"SubnetId": subnets[0]} if (subnets := self._template.service_config.subnet_ids) else {}),
        )

    def _parent(self) -> Mapping[str, Any]:
        parameter = self._template.service_config.ami_parameter
        try:
            id_ = self._desk.client("ssm").get_parameter(Name=parameter)["Parameter"]["Value"]
        except ClientError as error:
            if code_of(error) != "ParameterNotFound":
                raise
            raise NotConfiguredError(
                f"Template {self._template.name} starts from the AMI of SSM parameter {parameter}, and"
                f" {self._desk.settings.region} has no such parameter. Name another as ami_parameter."
            ) from error
        parent: Mapping[str, Any] = self._ec2.describe_images(ImageIds=[id_])["Images"][0]
        return parent

    def _await_builder(self) -> None:
        for builder in self._polled(self._find, MOST_MINUTES + _SLACK_MINUTES):
            if builder is None and self._may_be_shown_yet():
                continue
            if builder is None:
                self._require_image()
                return
            if builder["State"]["Name"] == "stopped":
                return
        self._terminate()
        raise WaitTimedOutError(f"The machine that makes the image of {self._template.name} did not end in {MOST_MINUTES} minutes; it was removed.")  # fmt: skip

    def _may_be_shown_yet(self) -> bool:
        """EC2 shows a machine some seconds after it was launched, and everybody only later."""
        launched_at = self._launched_at
        return launched_at is not None and self._desk.ledger.now() - launched_at < _SHOWN_WITHIN and not self._is_made()

    def _create(self) -> None:
        """Of a machine that said it installed all; one that did not is removed."""
        builder = self._find()
        if builder is None:
            self._require_image()
            return
        said = self._console(builder["InstanceId"])
        if MADE not in said:
            if self._is_made():
                return
            self._terminate()
            lines = [line.strip() for line in said.splitlines() if line.strip()]
            shown = "".join(f"\n  | {line}" for line in lines[-10:])
            raise ImageFailedError(
                f"The image of {self._template.name} could not be made: its machine ended without installing all."
                f"{' Its console:' + shown if shown else ' Its console says nothing.'}\nPut the template right, or run the same again."
            )
        try:
            self._ec2.create_image(
                InstanceId=builder["InstanceId"],
                Name=self._name,
                Description=self._template.description[:255],
                TagSpecifications=[{"ResourceType": "image", "Tags": tag_list(self._tags)}],
            )
        except ClientError as error:
            if code_of(error) != "InvalidAMIName.Duplicate" and not self._is_made():
                raise

    def _is_made(self) -> bool:
        return described_ami(self._ec2, self._name) is not None

    def _require_image(self) -> None:
        """Where the machine is gone another may have made the image of it."""
        if not self._is_made():
            raise ImageFailedError(
                f"The machine that makes the image of {self._template.name} was removed by somebody. Run the same again."
            )

    def _console(self, instance_id: str) -> str:
        """What it said until it powered off: AWS shows it some minutes later; of one that another removed, what it shows by then."""
        said = ""
        for answer in self._polled(lambda: self._ec2.get_console_output(InstanceId=instance_id), _CONSOLE_SECONDS / 60):
            said = answer.get("Output", "")
            if MADE in said or FAILED in said or self._find() is None:
                break
        return said

    def _await_image(self) -> None:
        for image in self._polled(lambda: described_ami(self._ec2, self._name), _IMAGE_MINUTES):
            if image is None:
                raise ImageFailedError(f"EC2 could not make AMI {self._name} of its machine. Run the same again.")
            if image["State"] == "available":
                snapshots = [one["Ebs"]["SnapshotId"] for one in image["BlockDeviceMappings"] if "Ebs" in one]
                self._ec2.create_tags(Resources=snapshots, Tags=tag_list(self._tags))
                return
        raise WaitTimedOutError(f"AMI {self._name} was still being made after {_IMAGE_MINUTES} minutes.")

    def _terminate(self) -> None:
        """Billed first: by its tags the bill is known, and they go with it."""
        builder = self._find()
        if builder is None:
            return
        key = listed_tags(builder["Tags"])[RESERVATION_TAG]
        settled(self._desk, key, partial(machine_bill, self._desk, builder))
        self._ec2.terminate_instances(InstanceIds=[builder["InstanceId"]])

    def _find(self) -> Found:
        return find_builder(self._desk, self._template)

    def _polled(self, ask: Callable[[], Any], minutes: float) -> Iterator[Any]:
        settings = self._desk.settings
        patience = Patience(min(settings.poll_seconds, _POLL), settings.outage_seconds, minutes * 60)
        return answers(ask, patience, renew=lambda: renew(self._desk.client))
