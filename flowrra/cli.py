"""The ``flowrra`` command."""

from __future__ import annotations

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(package_name="flowrra", prog_name="flowrra")
@click.pass_context
def main(context: click.Context) -> None:
    """Task orchestration for the notebook you are already in."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
