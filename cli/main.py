"""The `fqi` command: its subcommands, and how errors leave it."""

from __future__ import annotations

import _thread
import functools
import os
import sys
import threading
import warnings
from typing import Annotated, Any

import typer

from fqi import __version__
from fqi.cli import bench, collect, compare, data, demo, evaluate, play, report, train
from fqi.errors import Interrupted, UserError

app = typer.Typer(
    name="fqi",
    help="Offline reinforcement learning by fitted Q-iteration: collect or load logs, train, evaluate, report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("collect")(collect.collect)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("play")(play.play)
app.command("report")(report.report)
app.command("demo")(demo.demo)
app.command("bench")(bench.bench)
app.add_typer(data.app, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"fqi {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


@functools.cache
def _command() -> Any:
    """All commands with all their flags, put together once: Typer itself would do it again at every call."""
    return typer.main.get_command(app)


def run() -> None:
    """Run the command line; every error a user can mend is one sentence and exit code 2."""
    warnings.showwarning = _show_warning
    sys.unraisablehook = _not_lost
    code = 1
    try:
        code = _command()(standalone_mode=False) or 0
        if code == 130:  # Typer has swallowed a Ctrl-C
            _complain("interrupted", code)
    except UserError as error:
        code = _complain(str(error), 2)
    except Interrupted as stopped:
        code = _complain(str(stopped), 130)
    except KeyboardInterrupt:
        code = _complain("interrupted", 130)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        code = _library_error(error)
    raise SystemExit(code)


def _library_error(error: Exception) -> int:
    """Typer's usage errors, training that diverged, and what the machine refuses; anything else is a fault of ours and
    keeps its traceback."""
    if type(error).__name__ == "DivergedError":
        return _complain(f"training diverged: {error}", 1)
    if type(error).__name__ == "Abort" and isinstance(error.__cause__, KeyboardInterrupt):
        return _complain("interrupted", 130)
    if isinstance(error, MemoryError):
        return _complain(f"there is not enough memory: {error or 'ask for less'}", 2)
    if isinstance(error, OSError) and error.filename is not None:
        return _complain(f"{error.filename}: {error.strerror}", 2)
    message = getattr(error, "format_message", None)
    if message is None:
        raise error
    text = " ".join(message().split())
    if not text:  # bare `fqi`: the help was printed
        return 2
    return _complain(text, 2)


def _complain(sentence: str, code: int) -> int:
    print(f"fqi: {_one_line(sentence)}", file=sys.stderr)
    return code


def _one_line(sentence: str) -> str:
    """The sentence without line breaks, and with nothing that would steer a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(sentence.split()))


def _not_lost(unraisable: sys.UnraisableHookArgs) -> None:
    """A Ctrl-C that fell into a callback, from which Python lets nothing out, comes again."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        again = threading.Timer(0.01, _thread.interrupt_main)  # not now: this is within the callback, too
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(unraisable)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"fqi: warning: {_one_line(str(message))}", file=sys.stderr)


if __name__ == "__main__":
    run()
