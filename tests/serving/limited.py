"""The server with limits that a test names, as JSON, before the options of the command."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys

from fastinfer.commands.serve import make_parser, make_settings
from fastinfer.serving.http import serve
from fastinfer.serving.limits import ServerLimits, most_connections
from fastinfer.serving.settings import find_served_model


def main(limits: str, *options: str) -> None:
    arguments = make_parser("limited").parse_args(options)
    settings = make_settings(arguments, find_served_model(arguments.model)[0])
    changed = dataclasses.replace(ServerLimits(most_connections()), **json.loads(limits))
    asyncio.run(serve(settings, lambda *_: None, changed))


if __name__ == "__main__":
    main(*sys.argv[1:])
