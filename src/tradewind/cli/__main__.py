"""`python -m tradewind.cli`: how the supervisor starts rooms, whatever the environment calls the script."""

from __future__ import annotations

from tradewind.cli import main

if __name__ == "__main__":
    main(prog_name="tradewind")
