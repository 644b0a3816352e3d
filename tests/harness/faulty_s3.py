"""A proxy before an S3 endpoint that fails as networks and busy stores do, and logs what the store did.

python -m tests.harness.faulty_s3 PORT UPSTREAM LOG SEED

It answers faithfully until `GET /faults/RATE` sets the share of requests that fail.
"""

import asyncio
import json
import random
import sys
from collections import Counter
from pathlib import Path

from aiohttp import ClientSession, web
from yarl import URL

HANG_S = 4.0
"""Longer than clients wait here: see `tests.system.chaos`."""
FAULTS = ("500", "503", "lost answer", "hang", "cut off", "slow")
HOP_HEADERS = {"connection", "content-length", "expect", "host", "keep-alive", "transfer-encoding"}


class Proxy:
    """Passes requests on to the endpoint behind, one by one, and makes some of them fail."""

    def __init__(self, upstream: str, log: Path, seed: int) -> None:
        self._upstream, self._log = upstream, log.open("a", buffering=1)
        self._chance = random.Random(seed)
        self._rate = 0.0
        self._made: Counter[str] = Counter()

    async def faults(self, request: web.Request) -> web.Response:
        """Sets the rate; answers how many faults of each kind there were."""
        self._rate = float(request.match_info["rate"])
        return web.json_response(self._made)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Passes a request on, and does to it or its answer what chance decides."""
        fault = self._chance.choice(FAULTS) if self._chance.random() < self._rate else None
        if fault is not None:
            self._made[fault] += 1
        if fault in ("500", "503"):
            return web.Response(status=int(fault))
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_HEADERS}
        async with (
            ClientSession(auto_decompress=False) as session,
            session.request(
                request.method,
                URL(self._upstream + request.raw_path, encoded=True),
                headers={**headers, "Host": request.headers["Host"]},
                data=body,
                skip_auto_headers=["Content-Type", "User-Agent", "Accept-Encoding"],
            ) as there,
        ):
            data = await there.read()
            # In the store's order: a client that is answered late, or never, has sent its request again by then.
            self._log.write(json.dumps([request.method, request.path, there.status]) + "\n")
            kept = {"content-length"} if request.method == "HEAD" else set()
            answer = {name: value for name, value in there.headers.items() if name.lower() not in HOP_HEADERS - kept}
        if fault == "lost answer":
            return web.Response(status=500)
        if fault == "hang":
            await asyncio.sleep(HANG_S)
        if fault in ("cut off", "slow") and data:
            return await self._haltingly(request, there.status, answer, data, whole=fault == "slow")
        return web.Response(status=there.status, headers=answer, body=None if request.method == "HEAD" else data)

    async def _haltingly(
        self, request: web.Request, status: int, headers: dict[str, str], data: bytes, *, whole: bool
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(len(data))})
        await response.prepare(request)
        half = len(data) // 2
        await response.write(data[:half])
        await asyncio.sleep(0.2)
        if whole:
            await response.write(data[half:])
        elif request.transport is not None:
            request.transport.abort()
        return response


def main(port: str, upstream: str, log: str, seed: str) -> None:
    """Serves until the process is ended."""
    proxy = Proxy(upstream, Path(log), int(seed))
    application = web.Application(client_max_size=2**30)
    application.router.add_get("/faults/{rate}", proxy.faults)
    application.router.add_route("*", "/{rest:.*}", proxy.handle)
    web.run_app(application, host="127.0.0.1", port=int(port), print=None)


if __name__ == "__main__":
    main(*sys.argv[1:])
