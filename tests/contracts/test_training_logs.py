"""What a job prints is in CloudWatch Logs: all of it, in order, while it runs."""

from __future__ import annotations

import re
from typing import Any


def test_lines_arrive_while_the_job_runs_in_aws_group_and_stream(jobs: Any) -> None:
    name = jobs.create("sh", "-c", "echo first; exec sleep 600", name="live")
    jobs.until_logged(name, "first")
    assert jobs.describe(name)["SecondaryStatus"] == "Training"
    (stream,) = jobs.logs.describe_log_streams(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{name}/"
    )["logStreams"]
    assert re.fullmatch(rf"{name}/algo-1-\d{{10}}", stream["logStreamName"])
    jobs.sagemaker.stop_training_job(TrainingJobName=name)


def test_no_line_is_lost_or_out_of_order_though_the_process_is_killed(jobs: Any) -> None:
    script = """
import os, signal, sys
for number in range(20_000):
    print(number, file=sys.stderr if number % 2 else sys.stdout, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    code = jobs.channel("code", jobs.put({"run.py": script}))
    name = jobs.create("sh", "-c", "python /opt/ml/input/data/code/run.py; exit $?", InputDataConfig=[code])
    assert jobs.finished(name)["FailureReason"] == "AlgorithmError: , exit code: 137"
    assert jobs.lines(name)[:20_000] == [str(number) for number in range(20_000)]


def test_long_lines_are_cut_and_what_is_no_text_is_replaced(jobs: Any) -> None:
    script = r"""
import sys
sys.stdout.buffer.write("é".encode() * 300_000 + b"\n" + b"\xff\n" + b"no newline at the end")
"""
    name = jobs.python(script)
    jobs.finished(name)
    *long, replaced, last = jobs.lines(name)
    assert "".join(long) == "é" * 300_000
    assert max(len(line.encode()) for line in long) <= 256 * 1024
    assert (replaced, last) == ("\ufffd", "no newline at the end")


def test_the_whole_group_is_read_by_time_and_page_by_page(jobs: Any) -> None:
    names = [jobs.python("for n in range(40): print(n, flush=True)") for _ in range(3)]
    begun = min(int(jobs.finished(name)["CreationTime"].timestamp() * 1000) for name in names)
    pages = jobs.logs.get_paginator("filter_log_events").paginate(
        logGroupName="/aws/sagemaker/TrainingJobs", startTime=begun, PaginationConfig={"PageSize": 50}
    )
    events = [event for page in pages for event in page["events"]]
    times = [event["timestamp"] for event in events]
    assert times == sorted(times)
    for name in names:
        lines = [event["message"] for event in events if event["logStreamName"].startswith(f"{name}/")]
        assert lines == [str(n) for n in range(40)]
