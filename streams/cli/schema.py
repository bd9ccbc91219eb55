"""`telefonie schema`: the JSON Schema of what is read or written, and the AsyncAPI document of all of it."""

import os
from importlib.metadata import version

import click

from streams.codecs import asyncapi, call_schema, completed_call_schema, kpi_window_schema
from streams.settings import Settings

_SCHEMAS = {"call": call_schema, "completed-call": completed_call_schema, "kpi-window": kpi_window_schema}


@click.command()
@click.argument("record", type=click.Choice([*_SCHEMAS, "asyncapi"]), default="call")
def schema(record: str) -> None:
    """Print the JSON Schema of a call event (the default), a completed call or a KPI window.

    With asyncapi, print the AsyncAPI 3 document of all four topics, under the names from the settings.

    \b
    Example:
      telefonie schema completed-call > completed-call.schema.json
      telefonie schema asyncapi > asyncapi.json
    """
    click.echo(_asyncapi() if record == "asyncapi" else _SCHEMAS[record](), nl=False)


def _asyncapi() -> bytes:
    settings = Settings.load(os.environ)
    topics = {
        "calls": settings.calls_topic,
        "completed": settings.completed_topic,
        "kpis": settings.kpis_topic,
        "dead": settings.dead_topic,
    }
    return asyncapi(topics, version("telefonie-streams"))
