"""``python -m nasdsl``."""

from nasdsl.cli import main

main()
