"""The floor for our server: the same HTTP server, which appends each body to one file, and keeps and sends one file."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import uvicorn
from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

folder = Path(sys.argv[1])
log = os.open(folder / "rows", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


async def append(request: Request) -> Response:
    body = await request.body()
    await to_thread.run_sync(os.write, log, body)
    return JSONResponse({})


async def put(request: Request) -> Response:
    with (folder / "file").open("wb") as file:
        async for piece in request.stream():
            file.write(piece)
        os.fsync(file.fileno())
    return Response()


async def get(request: Request) -> Response:
    return FileResponse(folder / "file")


app = Starlette(
    routes=[
        Route("/files/local/p/{run}/file_stream", append, methods=["POST"]),
        Route("/file", put, methods=["PUT"]),
        Route("/file", get),
    ]
)
with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as port:  # named, or it is slow
    port.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", ws="none")
    print(f"http://127.0.0.1:{port.getsockname()[1]}", flush=True)
    uvicorn.Server(config).run(sockets=[port])
