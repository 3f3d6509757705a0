"""An import from a partner whose service answers at the third attempt."""

from dagster import Backoff, OpExecutionContext, RetryPolicy, graph, op

from demo_project import shop

#: Number of times that the partner's service refuses before it answers.
REFUSALS = 2


class PartnerUnavailableError(Exception):
    """The partner's service refused."""


@op(tags={"dagster-taskiq/priority": "7"})
def list_invoices() -> list[int]:
    """Numbers of the invoices to fetch."""
    shop.take_a_while("list_invoices", 0.2, 0.6)
    return [order.number for order in shop.orders() if order.quantity == 3][:40]


@op(retry_policy=RetryPolicy(max_retries=3, delay=1, backoff=Backoff.LINEAR))
def fetch_invoices(context: OpExecutionContext, numbers: list[int]) -> dict[int, float]:
    """Fetch them; the first two attempts fail."""
    shop.take_a_while(f"fetch_invoices_{context.retry_number}", 0.3, 0.9)
    if context.retry_number < REFUSALS:
        raise PartnerUnavailableError(f"HTTP 503 at attempt {context.retry_number + 1}")
    worth = {order.number: shop.euros(order) for order in shop.orders()}
    return {number: worth[number] for number in numbers}


@op
def reconcile(context: OpExecutionContext, invoices: dict[int, float]) -> float:
    """Compare them with the order book."""
    shop.take_a_while("reconcile", 0.3, 0.9)
    total = round(sum(invoices.values()), 2)
    context.log.info("%d invoices, %.2f EUR", len(invoices), total)
    return total


@graph
def invoice_import() -> None:
    """Fetch the partner's invoices and reconcile them."""
    reconcile(fetch_invoices(list_invoices()))
