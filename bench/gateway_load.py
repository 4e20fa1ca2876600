"""A load generator that costs little: raw HTTP/1.1 over kept connections, closed loop or open loop.

`python bench/gateway_load.py JSON` with {port, path, headers, body, connections, seconds, rate?, streams?}.
With `rate` (requests/s) requests begin at fixed moments and latency counts from those, so that a slow answer is not
hidden by asking less. It prints JSON. With `streams` so many streams run once, side by side.
"""

import asyncio
import json
import sys
import time
from typing import Any

import httptools
import uvloop


class Client(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.done: asyncio.Future[int] | None = None
        self.events = 0
        self.first = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def ask(self, request: bytes) -> "asyncio.Future[int]":
        self.parser = httptools.HttpResponseParser(self)
        self.done = asyncio.get_running_loop().create_future()
        self.events = 0
        self.first = 0.0
        self.transport.write(request)
        return self.done

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if not self.first:
            self.first = time.perf_counter()
        self.events += body.count(b"data: ")

    def on_message_complete(self) -> None:
        if self.done is not None and not self.done.done():
            self.done.set_result(self.parser.get_status_code())

    def connection_lost(self, _: Exception | None) -> None:
        if self.done is not None and not self.done.done():
            self.done.set_result(0)


async def connect(port: int) -> Client:
    _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", port)
    return client


def request_bytes(plan: dict[str, Any]) -> bytes:
    body = json.dumps(plan["body"]).encode()
    head = f"POST {plan['path']} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in plan["headers"].items())
    return (head + f"content-length: {len(body)}\r\n\r\n").encode() + body


async def closed_loop(plan: dict[str, Any], request: bytes) -> dict[str, Any]:
    latencies: list[float] = []
    failures: list[int] = []
    begin = time.perf_counter()
    end = begin + plan["seconds"]

    async def worker() -> None:
        client = await connect(plan["port"])
        while (start := time.perf_counter()) < end:
            status = await client.ask(request)
            if status == 200:
                latencies.append(time.perf_counter() - start)
            else:
                failures.append(status)
                client = await connect(plan["port"])

    await asyncio.gather(*(worker() for _ in range(plan["connections"])))
    return summary(latencies, failures, time.perf_counter() - begin)


async def open_loop(plan: dict[str, Any], request: bytes) -> dict[str, Any]:
    idle: list[Client] = []
    latencies: list[float] = []
    failures: list[int] = []
    begin = time.perf_counter() + 0.1

    async def one(moment: float) -> None:
        client = idle.pop() if idle else await connect(plan["port"])
        status = await client.ask(request)
        if status == 200:
            latencies.append(time.perf_counter() - moment)
            idle.append(client)
        else:
            failures.append(status)

    tasks = []
    for index in range(int(plan["rate"] * plan["seconds"])):
        moment = begin + index / plan["rate"]
        wait = moment - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(one(max(moment, time.perf_counter()) if wait > 0 else moment)))
    await asyncio.gather(*tasks)
    return summary(latencies, failures, time.perf_counter() - begin)


async def side_by_side(plan: dict[str, Any], request: bytes) -> dict[str, Any]:
    clients = [await connect(plan["port"]) for _ in range(plan["streams"])]
    begin = time.perf_counter()
    statuses = await asyncio.gather(*(client.ask(request) for client in clients))
    took = time.perf_counter() - begin
    first = [client.first - begin for client in clients if client.first]
    result = summary(first, [status for status in statuses if status != 200], took)
    result["events"] = sum(client.events for client in clients)
    result["events_per_second"] = round(result["events"] / took)
    return result


def summary(latencies: list[float], failures: list[int], seconds: float) -> dict[str, Any]:
    latencies.sort()

    def at(share: float) -> float:
        return round(latencies[min(len(latencies) - 1, int(len(latencies) * share))] * 1000, 3) if latencies else 0.0

    return {
        "requests": len(latencies),
        "failures": len(failures),
        "failure_statuses": sorted(set(failures)),
        "per_second": round(len(latencies) / seconds, 1),
        "p50_ms": at(0.5),
        "p99_ms": at(0.99),
        "seconds": round(seconds, 2),
    }


async def run(plan: dict[str, Any]) -> dict[str, Any]:
    request = request_bytes(plan)
    if plan.get("streams"):
        return await side_by_side(plan, request)
    return await (open_loop if plan.get("rate") else closed_loop)(plan, request)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(run(json.loads(sys.argv[1])))))
