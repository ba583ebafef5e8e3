"""Progress on stderr: a training's steps, their rate and the time left; and what a run does before and after."""
import contextlib
import io
import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from tqdm import tqdm

LINE = "step {n_fmt}/{total_fmt}  {percentage:.0f}%  {rate_noinv_fmt}  {processed}  ETA {remaining}{postfix}"
BAR = "|{bar:20}| "


class Progress(tqdm):
    """A tqdm bar on a terminal. Elsewhere, such as in a log file, the same text as one line every `seconds`.

    tqdm has no option for three things that a run needs:

    - whole lines where stderr is no terminal, instead of a line that is overwritten;
    - a clock that starts at the first step, so that rate and ETA do not count the compilation before it;
    - a training that goes on when nobody reads stderr any more: Ctrl-C also ends the `tee` behind a run.

    Args:
        total: steps of the whole run.
        per_step: how many images (or tokens, as `of` says) a step processes, over all members.
        initial: steps taken before this process started.
        primary: whether this process shows anything; one of several processes does.
        of: the plural of what is processed.
        seconds: least time between lines, where `stream` is no terminal.
        stream: where to write; None: stderr.
    """
    monitor_interval = 0  # tqdm's thread that wakes up stalled bars: `miniters=1` needs none

    def __init__(self, total: int, per_step: float, initial: int = 0, primary: bool = True, of: str = "images",
                 seconds: float = 10.0, stream: io.TextIOBase | None = None):
        stream = stream or sys.stderr
        self._per_step, self._of, self._started, self._on_terminal = per_step, of, False, stream.isatty()
        self._values: dict[str, float] = {}
        super().__init__(total=total, initial=initial, disable=not primary, unit=" steps", miniters=1,
                         file=stream if self._on_terminal else _Lines(stream), dynamic_ncols=self._on_terminal,
                         mininterval=0.1 if self._on_terminal else seconds,
                         bar_format=BAR + LINE if self._on_terminal else LINE)
        self._compiling = Stages(primary, stream)
        self._compiling.say("compiling the training step")

    def reach(self, step: int) -> None:
        """Report that `step` steps are taken. It is cheap enough for every step."""
        if self._started:
            self.update(step - self.n)
            return
        self._compiling.__exit__(None, None, None)
        self._started, self.n, self.initial, self.last_print_n = True, step, step, step
        self.unpause()  # the clock starts here
        self.refresh()

    def show(self, values: Mapping[str, float]) -> None:
        """Show these values from the next line on, beside those shown before."""
        self._values |= values
        self.set_postfix(self._values, refresh=False)

    @property
    def format_dict(self) -> dict[str, Any]:
        """The fields of LINE: tqdm's, and `processed`."""
        fields = super().format_dict
        steps, seconds = self.n - self.initial, fields["elapsed"]
        rate = fields["rate"] or (steps / seconds if seconds else 0)  # tqdm's, which weighs recent steps more
        processed = f"{rate * self._per_step:,.0f}" if rate else "?"
        return fields | {"processed": f"{processed} {self._of}/s"}

    def display(self, *arguments: Any, **options: Any) -> bool | None:
        """Write the line, once a step is taken. Where writing fails, nothing more is written."""
        try:
            return super().display(*arguments, **options) if self._started else None
        except OSError:
            self.disable = True
            return None

    def close(self) -> None:
        """Show the last step, unless it is shown already, and leave the bar as it is."""
        self._compiling.__exit__(None, None, None)
        if not self.disable:
            self.leave = self._started and (self._on_terminal or self.n != self.last_print_n)
            with contextlib.suppress(OSError):
                super().close()


class Stages:
    """What is being done, such as "drawing: calibration", once it has lasted `patience` seconds.

    On a terminal a line that the next one overwrites, elsewhere a line of its own. Quick work says nothing.

    Args:
        primary: whether this process shows anything.
        stream: where to write; None: stderr.
        patience: seconds before anything is shown; elsewhere than on a terminal also between the lines of a stage.
    """

    def __init__(self, primary: bool = True, stream: io.TextIOBase | None = None, patience: float = 2.0):
        self._stream = (stream or sys.stderr) if primary else None
        self._patience, self._timer, self._writing = patience, None, threading.Lock()
        self._stage, self._text, self._since, self._last = "", "", 0.0, 0.0
        self._on_terminal = bool(self._stream and self._stream.isatty())

    def say(self, stage: str, done: int = 0, total: int = 0) -> None:
        """From now on this is being done; `done` of `total` parts are."""
        if self._stream is None:
            return
        now, self._text = time.monotonic(), f"{stage}: {done} of {total}" if total else stage
        if stage != self._stage:
            self._stop()
            self._stage, self._since = stage, now
            self._timer = threading.Timer(self._patience, self._write)
            self._timer.daemon = True
            self._timer.start()
        elif now - self._since > self._patience and now - self._last > (0.2 if self._on_terminal else self._patience):
            self._write()

    def __enter__(self) -> "Stages":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._stop()
        if self._on_terminal and self._last:
            self._text = ""
            self._write()
        self._stream = None

    def _stop(self):
        if self._timer is not None:
            self._timer.cancel()

    def _write(self):
        with self._writing, contextlib.suppress(OSError, ValueError):  # nobody reads any more, or it is closed
            if self._stream is not None:
                self._last = time.monotonic()
                self._stream.write(f"\r\033[K{self._text}" if self._on_terminal else f"{self._text}\n")
                self._stream.flush()


class _Lines:
    """A stream that is no terminal: what tqdm would overwrite becomes a line."""

    def __init__(self, stream: io.TextIOBase):
        self._stream = stream

    def write(self, text: str) -> None:
        if text.strip():
            self._stream.write(text.strip() + "\n")

    def flush(self) -> None:
        self._stream.flush()
