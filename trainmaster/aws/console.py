"""Addresses of pages in the AWS console, in the partition and region of what they show. Pure."""

from __future__ import annotations

from urllib.parse import quote

from trainmaster.storage.address import S3Address

_DOMAINS = {"aws-cn": "console.amazonaws.cn", "aws-us-gov": "console.amazonaws-us-gov.com"}
"""Of the partitions whose console is not at console.aws.amazon.com."""
TRAINING_LOGS = "/aws/sagemaker/TrainingJobs"


def job_page(job_arn: str) -> str:
    """Of a training job."""
    return _sagemaker(job_arn, f"/jobs/{_name(job_arn)}")


def endpoint_page(endpoint_arn: str) -> str:
    """Of an endpoint."""
    return _sagemaker(endpoint_arn, f"/endpoints/{_name(endpoint_arn)}")


def log_page(arn: str, group: str, prefix: str) -> str:
    """Of the streams of a log group that begin with a prefix, in the region and partition of an ARN."""
    streams = f"log-groups/log-group/{_twice(group)}$3FlogStreamNameFilter$3D{_twice(prefix)}"
    return f"{_console(arn)}/cloudwatch/home?region={_region(arn)}#logsV2:{streams}"


def bucket_page(arn: str, uri: str) -> str:
    """Of an S3 address: a prefix where it ends with a slash, else one object; in the partition of an ARN."""
    address = S3Address.parse(uri)
    kind = "buckets" if address.key.endswith("/") or not address.key else "object"
    return f"{_console(arn)}/s3/{kind}/{quote(address.bucket)}?region={_region(arn)}&prefix={quote(address.key)}"


def instance_page(arn: str, instance_id: str) -> str:
    """Of a machine of EC2, in the region and partition of an ARN."""
    return f"{_console(arn)}/ec2/home?region={_region(arn)}#InstanceDetails:instanceId={quote(instance_id)}"


def domain_page(arn: str, domain_id: str) -> str:
    """Of a Studio domain, in the region and partition of an ARN."""
    return _sagemaker(arn, f"/studio/{quote(domain_id)}")


def _sagemaker(arn: str, page: str) -> str:
    return f"{_console(arn)}/sagemaker/home?region={_region(arn)}#{page}"


def _console(arn: str) -> str:
    return f"https://{_region(arn)}.{_DOMAINS.get(arn.split(':')[1], 'console.aws.amazon.com')}"


def _region(arn: str) -> str:
    return arn.split(":")[3]


def _name(arn: str) -> str:
    return quote(arn.rpartition("/")[2])


def _twice(text: str) -> str:
    """As CloudWatch's console has it in the part after the `#`: percent-encoded twice, with a dollar for each percent sign."""
    return quote(quote(text, safe=""), safe="").replace("%", "$")
