"""What the stack costs a month, by a price list that says its date; an estimate, no bill.

List prices in US dollars without tax, free tiers and discounts, of 2026-11-23:
https://aws.amazon.com/greengrass/pricing/, https://aws.amazon.com/s3/pricing/,
https://aws.amazon.com/ecr/pricing/. These pages fill in their tables by script: the figures were
compared with copies of them and of the price list files (Greengrass in both regions; ECR and
transfer in us-east-1). AWS bills gigabytes as 2**30 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

DATED = "2026-11-23"
_GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Prices:
    """One region's: per active core device and month, per GiB and month, per GiB out."""

    region: str
    device: float
    s3: float
    ecr: float
    transfer: float


_LISTS = {
    one.region: one
    for one in (
        Prices(region="us-east-1", device=0.16, s3=0.023, ecr=0.10, transfer=0.09),
        Prices(region="eu-west-1", device=0.18, s3=0.023, ecr=0.10, transfer=0.09),
    )
}
_ELSEWHERE = "eu-west-1"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the estimate: dollars a month, or once where `once`."""

    what: str
    quantity: str
    dollars: float
    once: bool = False


def prices(region: str) -> Prices:
    """The region's list, else that of Ireland; `region` of the answer says which."""
    return _LISTS.get(region, _LISTS[_ELSEWHERE])


def estimate(
    listed: Prices, *, devices: int, objects: int, images: int, download: int
) -> tuple[Line, ...]:
    """Devices in number, the rest in bytes: kept in S3, kept in ECR, sent out by this rollout."""
    return (
        Line(
            what="Greengrass, active core devices",
            quantity=str(devices),
            dollars=devices * listed.device,
        ),
        Line(what="S3 storage", quantity=size(objects), dollars=objects / _GIB * listed.s3),
        Line(what="ECR storage", quantity=size(images), dollars=images / _GIB * listed.ecr),
        Line(
            what="data sent to the devices by this rollout",
            quantity=size(download),
            dollars=download / _GIB * listed.transfer,
            once=True,
        ),
    )


def size(count: int) -> str:
    """Bytes as people read them, in powers of ten as docker and S3's console print them."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"
