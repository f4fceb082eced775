"""The figures of embedding and serving, each with its count and spread.

Run: python scripts/measure_embedding.py                  (all rows: import, own, sigterm, fuzz; scripted engine)
     python scripts/measure_embedding.py --rows own       (the server's own time alone: on a quiet machine)
     python scripts/measure_embedding.py --soak 600       (concurrency 64 with the shipped checkpoint, and nothing else)
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import http.client
import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "transformers", "openai", "langgraph", "fastapi", "mcp", "httpx", "instructor")
DRIFT = 0.05
"""How far the memory may go from where it was after warm-up, up or down."""
SAID = {"theme": "a port", "object": "12", "relation": "the boats lie along the quay"}


def picture(shade: int) -> bytes:
    """A small picture; every shade is another one."""
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (64, 64), (shade % 256, shade // 256 % 256, 60)).save(out, "PNG")
    return out.getvalue()


def body(shade: int, **fields: Any) -> bytes:
    """A request that asks for a caption."""
    uri = "data:image/png;base64," + base64.b64encode(picture(shade)).decode()
    content = [{"type": "text", "text": "Describe this."}, {"type": "image_url", "image_url": {"url": uri}}]
    return json.dumps({"model": "rsagent", "messages": [{"role": "user", "content": content}], **fields}).encode()


def spread(values: Sequence[float], scale: float = 1e3) -> str:
    """Median with its 5 and 95 % quantiles."""
    cuts = statistics.quantiles(values, n=20)
    return f"{statistics.median(values) * scale:.2f} ({cuts[0] * scale:.2f} to {cuts[-1] * scale:.2f}, n {len(values)})"


class Server:
    """`rsagent serve` as a process on a free port; its log lies in a temporary file."""

    def __init__(self, engine: str, *arguments: str, script: dict[str, Any] | None = None) -> None:
        """Start it and wait until it listens."""
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name, "script.json")
        path.write_text(json.dumps(script or {"answers": SAID}))
        self.log = Path(self.folder.name, "log")
        environment = {**os.environ, "RSAGENT_ENGINE": engine, "RSAGENT_SCRIPT": str(path), "PYTHONPATH": str(ROOT)}
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "rsagent", "serve", "--port", "0", *arguments]
            self.process = subprocess.Popen(command, stderr=log, env=environment)
        while not (found := re.search(r'"port": (\d+)', self.log.read_text())):
            if self.process.poll() is not None:
                raise SystemExit(self.log.read_text())
            time.sleep(0.05)
        self.port = int(found[1])

    def memory_mb(self) -> float:
        """Resident memory now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(120)
        self.folder.cleanup()
        return code


def measure_import(runs: int = 10) -> None:
    """CPU seconds of `import rsagent` over those of an empty program, and what it loads."""
    code = "import sys, time; began = time.process_time(); import rsagent; spent = time.process_time() - began; "
    code += f"print(spent, [name for name in {HEAVY!r} if name in sys.modules])"
    command = [sys.executable, "-c", code]
    outputs = [subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout for _ in range(runs)]
    seconds = [float(output.split()[0]) for output in outputs]
    print(f"import rsagent, CPU ms: {spread(seconds)}; of {', '.join(HEAVY)} loaded: {outputs[0].partition(' ')[2].strip()}")


def measure_own_time(requests: int) -> None:
    """The server's time for a caption over that of the library, both warm and one at a time."""
    from rsagent import RSAgent
    from rsagent.engines.scripted import ScriptedEngine
    from rsagent.sources import decode_data_uri

    async def library() -> list[float]:
        spent: list[float] = []
        engine = ScriptedEngine(SAID)
        agent = RSAgent(engine)
        for shade in range(requests + 20):
            uri = json.loads(body(shade))["messages"][0]["content"][1]["image_url"]["url"]
            began = time.perf_counter()
            await agent.caption(decode_data_uri(uri))
            spent.append(time.perf_counter() - began)
            engine.calls.clear()
        return spent[20:]

    def served() -> list[float]:
        spent: list[float] = []
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        for shade in range(requests + 20):
            sent = body(shade)
            began = time.perf_counter()
            connection.request("POST", "/v1/chat/completions", sent, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            reply.read()
            spent.append(time.perf_counter() - began)
            assert reply.status == 200
        connection.close()
        return spent[20:]

    server = Server("scripted")
    over: list[float] = []
    for _ in range(3):  # in turns, so that what else the machine does falls on both
        alone, through = asyncio.run(library()), served()
        over.append(statistics.median(through) - statistics.median(alone))
    server.stop()
    print(f"library, ms: {spread(alone)}; server, ms: {spread(through)}")
    print(f"server over library, p50, ms: {', '.join(f'{value * 1e3:.2f}' for value in over)} (3 runs of {requests})")


async def load(port: int, clients: int, until: float, most: int) -> Counter[str]:
    """Requests from `clients` at a time until the clock says `until` or `most` were sent; outcomes by status."""
    import httpx2

    outcomes: Counter[str] = Counter()
    sent = 0

    async def client() -> None:
        nonlocal sent
        while time.monotonic() < until and sent < most:
            sent += 1
            asked = body(sent, stream=sent % 4 == 0)
            try:
                reply = await http_client.post("/v1/chat/completions", content=asked, headers=headers)
                whole = reply.text.rstrip().endswith(("}", "[DONE]"))
                outcomes[str(reply.status_code) if whole else "cut off"] += 1
                if reply.status_code == 429:
                    await asyncio.sleep(1)
            except httpx2.HTTPError as error:
                outcomes[type(error).__name__] += 1

    headers = {"content-type": "application/json"}
    limits = httpx2.Limits(max_connections=clients)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=120, limits=limits) as http_client:
        await asyncio.gather(*(client() for _ in range(clients)))
    return outcomes


def measure_soak(seconds: float, engine: str, clients: int = 64) -> None:
    """Concurrency 64: what was answered, and the memory after warm-up and in the end.

    Raises:
        SystemExit: a request was lost or answered otherwise than with 200 or 429, the memory drifted by more than 5 % after
            warm-up, or the server did not end with 0.
    """
    server = Server(engine, "--running", "16", "--queue", "40")
    warm = asyncio.run(load(server.port, clients, time.monotonic() + seconds * 0.25, 10**9))
    before = server.memory_mb()
    outcomes = asyncio.run(load(server.port, clients, time.monotonic() + seconds * 0.75, 10**9))
    after = server.memory_mb()
    code = server.stop()
    print(f"soak, {engine}, {clients} clients, {seconds:g} s, first quarter warm-up: {dict(warm + outcomes)}; ", end="")
    drift = after / before - 1
    print(f"memory {before:.0f} -> {after:.0f} MB ({drift:+.1%}); exit {code}")
    if wrong := soak_faults(warm + outcomes, drift, code):
        raise SystemExit(f"the soak failed: {'; '.join(wrong)}")


def soak_faults(outcomes: Counter[str], drift: float, code: int) -> list[str]:
    """What a soak must not show."""
    faults = [f"{count} x {outcome}" for outcome, count in sorted(outcomes.items()) if outcome not in ("200", "429")]
    if not outcomes["200"]:
        faults.append("nothing was answered")
    if abs(drift) > DRIFT:
        faults.append(f"memory drifted by {drift:+.1%}, more than {DRIFT:.0%}")
    if code != 0:
        faults.append(f"exit code {code}")
    return faults


def measure_sigterm(rounds: int = 5, clients: int = 64) -> None:
    """SIGTERM while `clients` requests are in hand: how many were answered."""
    answered, codes = 0, Counter[int]()
    for _ in range(rounds):
        slow = {"answers": SAID, "delays": dict.fromkeys(SAID, 0.5)}
        server = Server("scripted", "--running", "32", "--queue", "64", script=slow)
        outcomes, code = asyncio.run(_stop_under_load(server, clients))
        answered += outcomes["200"]
        codes[code] += 1
    print(f"SIGTERM with {clients} requests in hand, {rounds} rounds: {answered} of {rounds * clients} answered, ", end="")
    print(f"exit codes {dict(codes)}")


async def _stop_under_load(server: Server, clients: int) -> tuple[Counter[str], int]:
    loading = asyncio.create_task(load(server.port, clients, time.monotonic() + 60, clients))
    await asyncio.to_thread(_until_inside, server.port, clients)
    stopping = asyncio.create_task(asyncio.to_thread(server.stop))
    return await loading, await stopping


def _until_inside(port: int, clients: int) -> None:
    """Wait until the server says that all requests have come in."""
    for _ in range(2_000):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        if sum(float(found) for found in re.findall(r"^rsagent_(?:running|waiting) (\S+)", text, re.M)) >= clients:
            return
        time.sleep(0.005)


def main() -> None:
    """Measure what the options name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="what to measure")
    parser.add_argument("--requests", type=int, default=300, help="requests of each kind for the server's own time")
    parser.add_argument("--fuzz", type=int, default=5_000, help="fuzzed requests")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="soak only, this long")
    parser.add_argument("--engine", default="local", choices=("local", "scripted"), help="for the soak")
    options = parser.parse_args()
    if options.soak is not None:
        measure_soak(options.soak, options.engine)
        return
    for row in options.rows:
        ROWS[row](options)


def fuzz(requests: int) -> None:
    """Requests drawn from the server's own schema, and broken in every way."""
    command = [sys.executable, str(ROOT / "scripts" / "fuzz_server.py"), "--requests", str(requests)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


ROWS: dict[str, Callable[[argparse.Namespace], None]] = {
    "import": lambda options: measure_import(),
    "own": lambda options: measure_own_time(options.requests),
    "sigterm": lambda options: measure_sigterm(),
    "fuzz": lambda options: fuzz(options.fuzz),
}

if __name__ == "__main__":
    main()
