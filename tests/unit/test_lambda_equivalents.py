"""Whoever comes from Lambda Labs is told the SageMaker type for the same work, and both costs."""

from decimal import Decimal

import pytest

from trainmaster.budget.equivalents import equivalent_of, equivalents
from trainmaster.budget.hardware import hardware_of
from trainmaster.budget.prices import shipped_prices
from trainmaster.errors import UnknownChoiceError


@pytest.mark.parametrize(
    ("lambda_type", "sagemaker_type"),
    [
        ("gpu_1x_a10", "ml.g5.xlarge"), ("gpu_8x_a100", "ml.p4d.24xlarge"), ("gpu_8x_a100_80gb_sxm4", "ml.p4de.24xlarge"),
        ("gpu_8x_h100_sxm5", "ml.p5.48xlarge"), (" GPU_1x_H100_PCIe ", "ml.p5.4xlarge"),
    ],
)  # fmt: skip
def test_both_are_named_with_their_costs(lambda_type: str, sagemaker_type: str) -> None:
    found = equivalent_of(lambda_type)
    sentence = found.sentence(shipped_prices(), "us-east-1")
    price = shipped_prices().instance(sagemaker_type, "training", "us-east-1")
    assert found.sagemaker_type == sagemaker_type
    assert f"${found.usd} an hour" in sentence
    assert f"{sagemaker_type} (" in sentence
    assert f"${price.usd} an hour in us-east-1" in sentence


def test_an_equivalent_has_as_many_gpus_with_no_less_memory() -> None:
    for each in equivalents().values():
        hardware = hardware_of(each.sagemaker_type)
        assert hardware
        count, memory = int(each.gpus.split()[0]), int(each.gpus.split()[-2])
        assert (hardware.gpus, hardware.gpu_memory_gb >= memory) == (count, True), each
        assert each.usd > Decimal("0.5")
        assert each.source


def test_an_unknown_type_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UnknownChoiceError, match=r"gpu_7x_z80.*gpu_1x_a10, .*gpu_8x_h100_sxm5"):
        equivalent_of("gpu_7x_z80")
