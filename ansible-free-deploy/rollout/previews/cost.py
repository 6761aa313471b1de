"""What a preview costs a month, from a small table of list prices. Pure.

Prices in USD before tax, Linux, on demand, without traffic and discounts, as the vendors' price
lists had them in 2025: https://aws.amazon.com/ec2/pricing/on-demand/,
https://aws.amazon.com/ebs/pricing/, https://cloud.google.com/compute/all-pricing. What is not in
the table is unknown: a guess would be taken for a price.
"""

from __future__ import annotations

from dataclasses import dataclass

AS_OF = "2025"
HOURS = 730  # of a month, as both vendors' calculators have it


@dataclass(frozen=True)
class Prices:
    """Of one region, in USD: an hour of each machine type, a GB of disk a month, an hour of a
    public IPv4 address."""

    hour: dict[str, float]
    disk_gb: float
    address_hour: float = 0.005


_PRICES = {
    ("aws", "eu-central-1"): Prices(
        {"t3.micro": 0.012, "t3.small": 0.024, "t3.medium": 0.048, "t3.large": 0.096}, 0.0952
    ),
    ("aws", "us-east-1"): Prices(
        {"t3.micro": 0.0104, "t3.small": 0.0208, "t3.medium": 0.0416, "t3.large": 0.0832}, 0.08
    ),
    ("gcp", "europe-west3"): Prices(
        {"e2-micro": 0.0108, "e2-small": 0.0216, "e2-medium": 0.0432}, 0.12
    ),
    ("gcp", "us-central1"): Prices(
        {"e2-micro": 0.0084, "e2-small": 0.0168, "e2-medium": 0.0335}, 0.10
    ),
}


def a_month(cloud: str, region: str, machine_type: str, disk_gb: int, hosts: int) -> float | None:
    """USD a month for this many hosts; 0 on the local cloud, None where the table has no price."""
    if cloud == "local":
        return 0.0
    prices = _PRICES.get((cloud, region))
    if prices is None or machine_type not in prices.hour:
        return None
    hourly = prices.hour[machine_type] + prices.address_hour
    return round(hosts * (hourly * HOURS + disk_gb * prices.disk_gb), 2)


def in_words(amount: float | None) -> str:
    """The amount for a table."""
    if amount is None:
        return "unknown"
    return "0" if amount == 0 else f"about ${amount:.0f}"
