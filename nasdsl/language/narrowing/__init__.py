"""Fixes choices of a space and writes the smaller space as text: see ``narrow.py`` for the order of the stages."""

from nasdsl.language.narrowing.narrow import Kept, Narrowed, Prepared, Setup, narrow, prepare

__all__ = ["Kept", "Narrowed", "Prepared", "Setup", "narrow", "prepare"]
