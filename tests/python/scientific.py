"""Definitions that import what starts native threads, and use it at import and in steps."""

import numpy as np
import pandas as pd
import pyarrow as pa
from dagster import Definitions

from isolation_shape import check_of, checks

FACTOR = float((np.ones((200, 200)) @ np.ones((200, 200)))[0, 0])
TABLE = pd.DataFrame({"name": ["a", "b", "a"], "count": [1, 2, 3]})


@check_of
def computes() -> list[float]:
    product = np.ones((400, 400)) @ np.full((400, 400), FACTOR)
    counts = TABLE.groupby("name")["count"].sum()
    total = pa.array(range(1000)).cast(pa.float64()).to_pandas().sum()
    return [float(product[0, 0]), float(counts["a"]), float(total)]


defs = Definitions(jobs=[checks])
