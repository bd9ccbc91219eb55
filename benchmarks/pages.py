"""What people who look at the pages cost: a worker at full speed with ten of them clicking, and without, in turns.

    python -m benchmarks.pages [--calls 233000] [--rounds 3] [--people 10]

Each of them goes from page to page at random, stays for a few seconds, and asks meanwhile as often as the page does:
for a call, its revisions and its rejected records, the open calls, the rejected records, the KPIs, and the events of
the live page. What pages load, browsers keep. People, broker and worker share the machine, so what the people's own
processes use slows the worker down too. The rate tells what all of it takes; what serving them takes of the worker's
CPU time, it accounts for itself.
"""

from __future__ import annotations

import http.client
import multiprocessing
import random
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import click

from benchmarks.accounted import Account
from benchmarks.load import Load, delete_topics, make_topics, produce
from benchmarks.measure import Offsets, Run, follow, spread
from benchmarks.worker import OUTPUTS, environment, process
from streams.embedded import Cluster
from streams.operations.simulation import events

_STAY = (2.0, 6.0)  # seconds on a page
#: Of each page what it asks for, `{}` being the id of a call, and how often (s).
_PAGES = {
    "/calls": (["/calls?limit=100"], 5.0),
    "/calls/{}": (["/calls/{}", "/completed/{}?limit=1000", "/dead?key={}"], 2.0),
    "/dead": (["/dead?limit=2000"], 60.0),
    "/kpis": (["/kpis?span=24h"], 10.0),
    "/": (["/events"], 60.0),
}


def ask(port: int, path: str, kind: str, seconds: float) -> int:
    """Send a request like a browser, and read for at most this many seconds; returns the status, 0 for no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("GET", path, headers={"Accept": kind})
        answer = connection.getresponse()
        end = time.monotonic() + seconds
        while time.monotonic() < end and answer.read1(1 << 16):
            pass
        return answer.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def person(port: int, ids: list[str], seed: int, only: str, ended: Event, counts: Counter[int]) -> None:
    """Click until the end, and count the answers by their status."""
    chance = random.Random(seed)
    while not ended.is_set():
        page, (asked, every) = chance.choice([each for each in _PAGES.items() if only in ("", each[0])])
        call = quote(chance.choice(ids), safe="")
        counts[ask(port, page.format(call), "text/html", 5.0)] += 1
        leave = time.monotonic() + chance.uniform(*_STAY)
        while (left := leave - time.monotonic()) > 0 and not ended.is_set():
            for path in asked:
                counts[ask(port, path.format(call), "application/json", max(0.1, left))] += 1
            ended.wait(min(every, max(0.0, leave - time.monotonic())))


def people(port: int, ids: list[str], number: int, only: str, ended: Event, told: Any) -> None:
    """So many of them, in a process of their own."""
    counts = Counter[int]()
    threads = [
        threading.Thread(target=person, args=(port, ids, seed, only, ended, counts)) for seed in range(number)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told.put(counts)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Watched(NamedTuple):
    """A run, how often people got which status, and what the worker says its pages have cost."""

    run: Run
    answers: Counter[int]
    account: Account


def run(cluster: Cluster, load: Load, name: str, ids: list[str], number: int, only: str) -> Watched:
    """One way through the load while so many people look on."""
    brokers, completed, port = cluster.bootstrap(), f"{name}.completed", free_port()
    outputs = [f"{completed}{kind}" for kind in OUTPUTS]
    make_topics(brokers, *outputs)
    env = environment(brokers, name, load.topic, completed, HTTP_PORT=str(port))
    context = multiprocessing.get_context("spawn")
    ended, told = context.Event(), context.Queue()
    with ExitStack() as stack:
        file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "account"
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.accounted", str(file)]
        worker = stack.enter_context(process(command, env))
        looking = context.Process(target=people, args=(port, ids, number, only, ended, told), daemon=True)
        looking.start()
        try:
            found = follow([worker], cluster.brokers[0].pid, Offsets(brokers, name, load.topic), load.records)
            account = Account.read(file)
        finally:
            ended.set()
        counts: Counter[int] = told.get(timeout=30)
        looking.join(10)
    with suppress(Exception):  # the next round has topics of its own
        delete_topics(brokers, *outputs, f"{name}-calls-changelog")
    return Watched(found, counts, account)


@click.command()
@click.option("--calls", default=233_000, show_default=True, help="About 4.3 events each.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--people", "number", default=10, show_default=True)
@click.option("--only", default="", metavar="PAGE", help="All look at this page: " + ", ".join(_PAGES) + ".")
def main(calls: int, rounds: int, number: int, only: str) -> None:
    """Measure and print."""
    found: dict[int, list[Watched]] = {0: [], number: []}
    with tempfile.TemporaryDirectory() as directory, Cluster(Path(directory)) as cluster:
        load = produce(cluster.bootstrap(), "load", calls, 7)
        ids = [key.decode() for _, key, _ in events(7, 2_000, 150.0, 0)]
        for turn in range(rounds):
            for each in (0, number) if turn % 2 == 0 else (number, 0):
                found[each].append(run(cluster, load, f"pages-{each}-{turn}", ids, each, only))
    report(*found.values(), number)


def report(without: list[Watched], watched: list[Watched], number: int) -> None:
    """Print what came of the runs."""
    for people_, runs in ((0, without), (number, watched)):
        rates = spread([each.run.events_per_second for each in runs], ",.0f")
        costs = spread([each.run.cost for each in runs], ".2f")
        others = spread([each.run.others for each in runs], ".2f")
        print(f"{people_} people: {rates} events/s, {costs} CPU-s per million events, others' cores {others}")
    pairs = [(a.run, b.run) for a, b in zip(without, watched, strict=True)]
    rate = spread([b.events_per_second / a.events_per_second for a, b in pairs], ".3f")
    cost = spread([b.cost / a.cost for a, b in pairs], ".3f")
    print(f"with {number} people / without: events/s {rate}, CPU {cost}")
    accounts = [each.account for each in watched]
    share = spread([100 * sum(each.pages.values()) / each.process for each in accounts], ".2f")
    core = spread([100 * sum(each.pages.values()) / each.seconds for each in accounts], ".2f")
    print(f"by its own account the pages took {share} % of the worker's CPU time, {core} % of a core:")
    for place in sorted({place for each in accounts for place in each.pages}):
        part = spread([100 * each.pages.get(place, 0.0) / each.seconds for each in accounts], ".2f")
        print(f"  {place} {part} % of a core")
    answers = sum((each.answers for each in watched), Counter[int]())
    print("answers by status (0: given up):", dict(sorted(answers.items())))


if __name__ == "__main__":
    main()
