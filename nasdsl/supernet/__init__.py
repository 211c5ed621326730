"""The weight-sharing supernet and how it runs."""

from nasdsl.supernet.batchnorm import recalibrate
from nasdsl.supernet.supernet import Supernet

__all__ = ["Supernet", "recalibrate"]
