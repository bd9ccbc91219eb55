"""`telefonie schema`: the JSON Schema of what is read or written."""

import click

from streams.codecs import call_schema, completed_call_schema, kpi_window_schema

_SCHEMAS = {"call": call_schema, "completed-call": completed_call_schema, "kpi-window": kpi_window_schema}


@click.command()
@click.argument("record", type=click.Choice(list(_SCHEMAS)), default="call")
def schema(record: str) -> None:
    """Print the JSON Schema of a call event (the default), a completed call or a KPI window.

    \b
    Example:
      telefonie schema completed-call > completed-call.schema.json
    """
    click.echo(_SCHEMAS[record](), nl=False)
