"""Links into the AWS console lead to the partition and region of what they show."""

from __future__ import annotations

import pytest

from trainmaster.aws.console import bucket_page, domain_page, endpoint_page, instance_page, job_page, log_page

JOB = "arn:aws:sagemaker:eu-west-1:123456789012:training-job/cats-1"
CHINA = "arn:aws-cn:sagemaker:cn-north-1:123456789012:endpoint/cats"
CLOUDWATCH = "https://eu-west-1.console.aws.amazon.com/cloudwatch/home?region=eu-west-1"
GOVERNMENT = "arn:aws-us-gov:sagemaker:us-gov-west-1:123456789012:training-job/cats-1"


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        (job_page(JOB), "https://eu-west-1.console.aws.amazon.com/sagemaker/home?region=eu-west-1#/jobs/cats-1"),
        (endpoint_page(CHINA), "https://cn-north-1.console.amazonaws.cn/sagemaker/home?region=cn-north-1#/endpoints/cats"),
        (
            job_page(GOVERNMENT),
            "https://us-gov-west-1.console.amazonaws-us-gov.com/sagemaker/home?region=us-gov-west-1#/jobs/cats-1",
        ),
        (
            log_page(JOB, "/aws/sagemaker/TrainingJobs", "cats-1/"),
            f"{CLOUDWATCH}#logsV2:log-groups/log-group/$252Faws$252Fsagemaker$252FTrainingJobs$3FlogStreamNameFilter$3Dcats-1$252F",
        ),
        (
            bucket_page(JOB, "s3://lab/a b/(c)/"),
            "https://eu-west-1.console.aws.amazon.com/s3/buckets/lab?region=eu-west-1&prefix=a%20b/%28c%29/",
        ),
        (
            bucket_page(CHINA, "s3://lab/model.tar.gz"),
            "https://cn-north-1.console.amazonaws.cn/s3/object/lab?region=cn-north-1&prefix=model.tar.gz",
        ),
        (
            instance_page(JOB, "i-1"),
            "https://eu-west-1.console.aws.amazon.com/ec2/home?region=eu-west-1#InstanceDetails:instanceId=i-1",
        ),
        (domain_page(JOB, "d-1"), "https://eu-west-1.console.aws.amazon.com/sagemaker/home?region=eu-west-1#/studio/d-1"),
    ],
    ids=["job", "endpoint in China", "job of the government", "log", "prefix", "object in China", "machine", "domain"],
)  # fmt: skip
def test_a_page_is_where_its_arn_is(address: str, wanted: str) -> None:
    assert address == wanted
