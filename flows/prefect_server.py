# SPDX-License-Identifier: Apache-2.0
"""Prefect's server on loopback, in a process of its own: `python -m flows.prefect_server PORT`.

What uvicorn's command would do, but it reads Prefect's modules with the garbage collector at rest.
"""

import sys

from flows.imports import collector_at_rest


def main() -> None:
    """Serve until the process is ended."""
    with collector_at_rest():
        import uvicorn
        from prefect.server.api.server import create_app

        app = create_app()
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical", lifespan="on")


if __name__ == "__main__":
    main()
