"""Assets: from the order book to the morning's report."""

from collections import Counter, defaultdict
from typing import Any

from dagster import AssetExecutionContext, MaterializeResult, asset

from demo_project import shop

URGENT = {"dagster-taskiq/priority": "9"}
WHENEVER = {"dagster-taskiq/priority": "1"}


@asset(group_name="sales", op_tags=URGENT)
def order_book(context: AssetExecutionContext) -> list[shop.Order]:
    """Every line of the day, as the tills wrote it."""
    shop.take_a_while("order_book")
    found = shop.orders()
    context.log.info("%d lines in the order book", len(found))
    return found


@asset(group_name="sales")
def exchange_rates() -> dict[str, float]:
    """Value of a unit of each currency in EUR."""
    shop.take_a_while("exchange_rates")
    return dict(shop.CURRENCIES)


@asset(group_name="sales")
def valid_orders(order_book: list[shop.Order]) -> list[shop.Order]:
    """Orders of something."""
    shop.take_a_while("valid_orders")
    return [order for order in order_book if order.quantity > 0]


@asset(group_name="sales")
def revenue_by_region(
    valid_orders: list[shop.Order], exchange_rates: dict[str, float]
) -> dict[str, float]:
    """EUR per region."""
    shop.take_a_while("revenue_by_region")
    totals: defaultdict[str, float] = defaultdict(float)
    for order in valid_orders:
        price = shop.PRODUCTS[order.product] * order.quantity
        totals[order.region] += price * exchange_rates[order.currency]
    return {region: round(total, 2) for region, total in sorted(totals.items())}


@asset(group_name="sales")
def best_sellers(valid_orders: list[shop.Order]) -> list[tuple[str, int]]:
    """Products by pieces sold."""
    shop.take_a_while("best_sellers")
    pieces: Counter[str] = Counter()
    for order in valid_orders:
        pieces[order.product] += order.quantity
    return pieces.most_common()


@asset(group_name="sales", op_tags=WHENEVER)
def customer_segments(valid_orders: list[shop.Order]) -> dict[str, int]:
    """Customers by how often they came."""
    shop.take_a_while("customer_segments")
    visits = Counter(order.customer for order in valid_orders)
    names = Counter("regular" if count > 5 else "occasional" for count in visits.values())
    return dict(names)


@asset(group_name="sales", op_tags=URGENT)
def morning_report(
    revenue_by_region: dict[str, float],
    best_sellers: list[tuple[str, int]],
    customer_segments: dict[str, int],
) -> MaterializeResult[Any]:
    """One page for the opening of the shop."""
    shop.take_a_while("morning_report")
    best_region = max(revenue_by_region, key=lambda region: revenue_by_region[region])
    return MaterializeResult(
        metadata={
            "revenue_eur": round(sum(revenue_by_region.values()), 2),
            "best_region": best_region,
            "best_seller": best_sellers[0][0],
            "regular_customers": customer_segments.get("regular", 0),
        }
    )
