"""Loading and unloading: registers with the shell what :class:`~flowrra_jupyter.session.Session` does."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Final

from flowrra import AppStats, Batch, Flowrra, TaskHandle, set_host
from flowrra_jupyter import rich
from flowrra_jupyter.completions import Known, make_matcher
from flowrra_jupyter.errors import MissingExtra
from flowrra_jupyter.magics import FlowrraMagics
from flowrra_jupyter.session import Session

NEEDED: Final = ("ipykernel", "ipywidgets", "anywidget", "nest_asyncio2")
SHOWN: Final = (TaskHandle, Batch, Flowrra)

_loaded: _Extension | None = None


def load(shell: Any) -> Session:
    """Make flowrra at home in *shell*. Loading again changes nothing."""
    global _loaded  # noqa: PLW0603 - a process has one shell, and the host is one per process too
    if _loaded is None:
        for package in NEEDED:
            if not _is_installed(package):
                raise MissingExtra(package)
        _loaded = _Extension(shell)
    return _loaded.session


def unload() -> None:
    """Take everything back: views stay as they are, the app goes on for whoever holds it."""
    global _loaded  # noqa: PLW0603 - see load
    if _loaded is not None:
        _loaded.close()
        _loaded = None


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:  # in sys.modules without a spec: something took its place
        return False


class _Extension:
    """What was registered with the shell, so that it can be taken back."""

    def __init__(self, shell: Any) -> None:
        self.session = session = Session(shell)
        self._undo: list[Callable[[], object]] = []
        self._shell = shell
        set_host(session.host)
        shell.register_magics(FlowrraMagics(session))
        for kind in ("line", "cell"):
            self._undo.append(lambda kind=kind: shell.magics_manager.magics[kind].pop("flowrra", None))  # type: ignore[misc]  # mypy cannot tell the type of a default of a lambda
        self._on("pre_run_cell", session.cell_began)
        self._on("post_run_cell", session.cell_ended)
        matcher = make_matcher(Known(session.run_ids, session.tasks, session.variables))
        shell.Completer.custom_matchers.append(matcher)
        self._undo.append(lambda: shell.Completer.custom_matchers.remove(matcher))
        session.cell_began()
        if session.kernel is None:
            self._format_as_text()
        else:
            self._format_as_views()
            self._before_shutdown(session.kernel)

    def close(self) -> None:
        for undo in reversed(self._undo):
            undo()
        set_host(None)
        self.session.close()

    def _on(self, event: str, call: Callable[..., None]) -> None:
        self._shell.events.register(event, call)
        self._undo.append(lambda: self._shell.events.unregister(event, call))

    def _format_as_views(self) -> None:
        formatter = self._shell.display_formatter.ipython_display_formatter
        for kind in SHOWN:
            self._register(formatter, kind, self.session.displays.show)
        self._register_text(AppStats, rich.stats)

    def _format_as_text(self) -> None:
        for kind in SHOWN:
            self._register_text(kind, self.session.displays.text)
        self._register_text(AppStats, rich.stats)

    def _register_text(self, kind: type, text: Callable[[Any], str]) -> None:
        self._register(
            self._shell.display_formatter.formatters["text/plain"],
            kind,
            lambda thing, printer, cycle: printer.text("…" if cycle else text(thing)),
        )

    def _register(self, formatter: Any, kind: type, show: Callable[..., object]) -> None:
        formatter.for_type(kind, show)
        self._undo.append(lambda: formatter.pop(kind, None))

    def _before_shutdown(self, kernel: Any) -> None:
        """Cancel before the kernel asks its children to end and waits for them."""
        original = kernel.do_shutdown

        def do_shutdown(restart: bool) -> Any:  # noqa: FBT001 - ipykernel's signature
            self.session.shutdown()
            return original(restart)

        kernel.do_shutdown = do_shutdown
        self._undo.append(lambda: setattr(kernel, "do_shutdown", original))
