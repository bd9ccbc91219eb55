"""Every setting, read once into one frozen object, and durations, which other parts use too."""

from streams.settings.durations import approximate_duration, format_duration, parse_duration
from streams.settings.environment import PREFIX, Setting, SettingsError
from streams.settings.kinds import FOREVER
from streams.settings.settings import TABLE, Settings

__all__ = [
    "FOREVER",
    "PREFIX",
    "TABLE",
    "Setting",
    "Settings",
    "SettingsError",
    "approximate_duration",
    "format_duration",
    "parse_duration",
]
