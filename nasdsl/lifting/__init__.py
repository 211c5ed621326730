"""From a torch module to the text of a `.nas` file, for people who have a network and want a space."""

from nasdsl.lifting.lift import Lifted, lift

__all__ = ["Lifted", "lift"]
