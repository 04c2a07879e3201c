"""What counts as a MAC: one row a convention."""

from collections.abc import Mapping

__all__ = ["FVCORE"]

FVCORE: Mapping[str, int] = {
    "product": 1,
    "batch norm": 2,
    "batch norm without scale": 1,
    "norm": 5,
    "norm without scale": 4,
    "adaptive_avg_pool2d": 1,
    "upsample_nearest2d": 1,
    "upsample_bilinear2d": 4,
    "grid_sampler_2d": 4,
}
"""MACs of each product, and of each element of what else fvcore has a handle for."""
