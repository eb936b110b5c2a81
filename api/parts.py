"""What `agg serve` may serve apart, in processes of its own."""

from typing import Literal, get_args

Part = Literal["auth", "ai", "users", "billing", "analytics", "admin", "console"]
PARTS: tuple[Part, ...] = get_args(Part)
