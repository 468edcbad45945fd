"""The held-out predictions a training job leaves behind, and a picture of them."""

from __future__ import annotations

import io
import tarfile
from typing import IO, TYPE_CHECKING, cast

from botocore.exceptions import ClientError

from trainmaster.aws.failures import is_missing
from trainmaster.storage.address import S3Address

if TYPE_CHECKING:
    import pandas as pd
    from mypy_boto3_s3 import S3Client

MEMBER = "predictions.csv"
MOST_POINTS = 5000
"""More would not be seen, and would make the picture large."""
MOST_BYTES = 1 << 20


def held_out_predictions(s3: S3Client, output_uri: str) -> pd.DataFrame | None:
    """Columns `actual` and `predicted`, at most 5,000 rows, of the job's output archive; None when it left none."""
    import pandas as pd  # noqa: PLC0415 - costs whoever only deploys half a second

    address = S3Address.parse(output_uri)
    try:
        body = s3.get_object(Bucket=address.bucket, Key=address.key)["Body"]
    except ClientError as error:
        if is_missing(error):
            return None
        raise
    with body, tarfile.open(fileobj=cast("IO[bytes]", body), mode="r|gz") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.name.removeprefix("./").endswith(MEMBER) else None
            if content:
                whole_lines = content.read(MOST_BYTES).rpartition(b"\n")[0]
                rows = pd.read_csv(io.BytesIO(whole_lines), usecols=["actual", "predicted"], nrows=MOST_POINTS)
                return None if rows.empty else rows
    return None


def picture(held_out: pd.DataFrame, title: str) -> bytes:
    """A PNG of predicted against actual prices, with the line on which a perfect model would lie."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - costs half a second to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(6, 5), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    ends = [held_out.min().min(), held_out.max().max()]
    axes.plot(ends, ends, color="0.6", linewidth=1, label="perfect")
    axes.scatter(held_out["actual"], held_out["predicted"], s=14, alpha=0.5, edgecolors="none", label="validation rows")
    axes.set(title=title, xlabel="actual price (USD)", ylabel="predicted price (USD)")
    axes.xaxis.set_major_formatter("${x:,.0f}")
    axes.yaxis.set_major_formatter("${x:,.0f}")
    axes.tick_params(axis="x", labelrotation=30)
    axes.grid(alpha=0.2)
    axes.legend(frameon=False)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()
