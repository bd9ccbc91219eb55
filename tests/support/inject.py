"""Faults from inside a worker: code that runs in its process before the command does (`Worker(before=…)`)."""

from signal import Signals

_CONFIG = """
import dataclasses
import streams.wiring
_made = streams.wiring.config_of
streams.wiring.config_of = lambda *args, **options: dataclasses.replace(_made(*args, **options), **{changes!r})
"""

QUICK_TICKS = """
import streams.engine.application
streams.engine.application.TICK_SECONDS = 0.2
"""
"""The idle clock looks five times a second; after other code, to be joined with it."""

_POINT = """
import importlib
_module, _path = {point!r}.split(":")
_owner = importlib.import_module(_module)
*_outer, _name = _path.split(".")
for _each in _outer:
    _owner = getattr(_owner, _each)
_original, _calls = getattr(_owner, _name), 0
"""

_SIGNAL = """
import os, threading

def _strike():
    if {delay!r}:
        threading.Timer({delay!r}, os.kill, (os.getpid(), {signal})).start()
    else:
        os.kill(os.getpid(), {signal})

async def _struck(*args, **options):
    global _calls
    _calls += 1
    mine = _calls == {call}
    if mine and not {after}:
        _strike()
    result = await _original(*args, **options)
    if mine and {after}:
        _strike()
    return result

setattr(_owner, _name, _struck)
"""

_RAISE = """
import importlib
_owner = importlib.import_module({module!r})
_whole = getattr(_owner, {name!r})

def _broken(*args, **options):
    result = _whole(*args, **options)
    if any({marker!r} in repr(each) for each in args):
        raise ZeroDivisionError("injected")
    return result

setattr(_owner, {name!r}, _broken)
"""


_SLOW = """
import asyncio

async def _slow(*args, **options):
    global _calls
    _calls += 1
    if _calls == ({call} or _calls):
        await asyncio.sleep({seconds})
    return await _original(*args, **options)

setattr(_owner, _name, _slow)
"""


def config(**changes: object) -> str:
    """Other values for fields of the engine's Config."""
    return _CONFIG.format(changes=changes)


def signal_at(point: str, signal: Signals, *, call: int = 1, after: bool = False, delay: float = 0.0) -> str:
    """The worker sends itself a signal at the n-th call of a coroutine function, `module:Class.method`.

    Before the call or `after` it; with `delay`, so many seconds later while the worker goes on.
    """
    strike = _SIGNAL.format(signal=int(signal), call=call, after=after, delay=delay)
    return _POINT.format(point=point) + strike


def raise_on(module: str, name: str, marker: str) -> str:
    """A function of a module does its work and then raises, whenever the marker is among its arguments."""
    return _RAISE.format(module=module, name=name, marker=marker)


def slow(point: str, seconds: float, *, call: int = 0) -> str:
    """A coroutine function, `module:name` or `module:Class.method`, takes so much longer; or its n-th `call` does."""
    return _POINT.format(point=point) + _SLOW.format(seconds=seconds, call=call)
