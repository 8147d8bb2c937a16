"""The command line ``selip``: one file a subcommand."""

from selip_core.cli.main import main

__all__ = ["main"]
