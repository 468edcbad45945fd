"""AWS's Price List API: one address for the prices of all regions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError

from trainmaster.aws.clients import client_config
from trainmaster.budget.price_list import Query
from trainmaster.errors import NotConfiguredError, WaitTimedOutError

REGION = "us-east-1"
"""Where the API is, whatever region the prices are of; most regions have none."""
MOST_PAGES = 1000
"""Of 100 products each, ten times what AWS has for any of our queries: an answer without end must end."""


def price_list_client() -> Any:
    """A client by AWS's default chain. Raises NotConfiguredError without credentials: the API wants to know who asks."""
    try:
        session = boto3.Session(region_name=REGION)
        found = session.get_credentials()
    except BotoCoreError as error:
        raise NotConfiguredError(f"AWS's price list needs AWS credentials ({error}).") from error
    if found is None:
        raise NotConfiguredError(
            "AWS's price list needs AWS credentials that may call pricing:GetProducts, and none were found. Set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or a role."
        )
    return session.client("pricing", config=client_config())


def products(client: Any, query: Query) -> Iterator[str]:
    """The JSON of each product, a page of 100 in memory at a time. Raises botocore's errors once its retries are used up,
    and WaitTimedOutError when the pages do not end."""
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in query.filters.items()]
    filters += [{"Type": "CONTAINS", "Field": "usagetype", "Value": query.part}] if query.part else []
    pages = client.get_paginator("get_products").paginate(
        ServiceCode=query.service,
        Filters=filters,
        FormatVersion="aws_v1",
        PaginationConfig={"PageSize": 100},
    )
    for number, page in enumerate(pages):
        if number == MOST_PAGES:
            raise WaitTimedOutError(f"AWS's price list of {query.service} had not ended after {MOST_PAGES} pages.")
        yield from page["PriceList"]
