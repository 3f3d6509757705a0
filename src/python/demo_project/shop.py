"""The shop's data: made up, but the same every night, so that the figures in the UI make sense."""

import random
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

REGIONS = (
    "alps",
    "baltic",
    "coast",
    "danube",
    "eifel",
    "fjords",
    "gobi",
    "harz",
    "iberia",
    "jutland",
    "karst",
    "lakes",
)
PRODUCTS = {"tent": 249.0, "stove": 89.5, "lamp": 34.9, "rope": 61.2, "boots": 179.0}
CURRENCIES = {"EUR": 1.0, "DKK": 0.134, "CHF": 1.06}
_DAY = datetime(2024, 3, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Order:
    """One line of the shop's order book."""

    number: int
    customer: int
    region: str
    product: str
    quantity: int
    currency: str
    placed_at: datetime


def orders(count: int = 2000) -> list[Order]:
    """The order book, with a few invalid lines, as order books have."""
    rng = random.Random(7)
    return [
        Order(
            number=number,
            customer=rng.randrange(300),
            region=rng.choice(REGIONS),
            product=rng.choice(list(PRODUCTS)),
            quantity=rng.choice((0, 1, 1, 1, 2, 2, 3)),
            currency=rng.choice(list(CURRENCIES)),
            placed_at=_DAY + timedelta(seconds=rng.randrange(86_400)),
        )
        for number in range(count)
    ]


def euros(order: Order) -> float:
    """Value of an order in EUR."""
    return PRODUCTS[order.product] * order.quantity * CURRENCIES[order.currency]


def take_a_while(key: str, shortest: float = 0.5, longest: float = 2.0) -> None:
    """Wait as a slow service would, always as long for the same key."""
    time.sleep(random.Random(key).uniform(shortest, longest))
