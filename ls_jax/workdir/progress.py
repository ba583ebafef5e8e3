"""How far a run is and how fast it goes, on stderr."""
import collections
import math
import sys
import time
from typing import Any, TextIO


class Progress:
    """How far a run is: a bar on a terminal, else a line now and then.

    Rates are over the last seconds, and count from the first update, so without the first call's compilation.

    Args:
        total: steps of the whole run.
        images_per_step: members times batch size; of what `of` says.
        initial: steps already taken.
        primary: whether this process shows anything.
        seconds: least time between lines, where stderr is no terminal.
    """

    def __init__(self, total: int, images_per_step: float, initial: int = 0, primary: bool = True, seconds: float = 10.0,
                 stream: TextIO | None = None, clock: Any = time.monotonic, of: str = "images"):
        self._total, self._images_per_step, self._of, self._step, self._primary = total, images_per_step, of, initial, primary
        self._stream, self._clock = stream or sys.stderr, clock
        self._seconds = 0.1 if self._stream.isatty() else seconds
        self._recent: collections.deque[tuple[float, int]] = collections.deque(maxlen=21)
        self._latest: dict[str, float] = {}
        self._shown = -math.inf, -1
        self._bar: Any = None

    def update(self, step: int) -> None:
        """Tell that `step` steps are taken."""
        now, self._step = self._clock(), step
        if not self._recent or now - self._recent[-1][0] >= 0.5:
            self._recent.append((now, step))
        if self._primary and now - self._shown[0] >= self._seconds:
            self._show(now)

    def show(self, name: str, value: float) -> None:
        """Show a value from the next line on."""
        self._latest[name] = value

    def close(self) -> None:
        """Show the last step, and leave the bar as it is."""
        if self._primary and self._recent and self._shown[1] != self._step:
            self._show(self._clock())
        if self._bar is not None:
            self._bar.close()

    def line(self, now: float) -> str:
        """`step 1200/5000  24%  310 steps/s  39,680 images/s  ETA 0:12  loss 0.123`"""
        parts = [f"step {self._step}/{self._total}", f"{self._step / self._total:.0%}"]
        then, step = self._recent[0]
        if self._step > step and now > then:
            rate = (self._step - step) / (now - then)
            parts += [f"{rate:.3g} steps/s" if rate < 100 else f"{rate:,.0f} steps/s",
                      f"{rate * self._images_per_step:,.0f} {self._of}/s", f"ETA {_clock_time((self._total - self._step) / rate)}"]
        return "  ".join(parts + [f"{name} {value:.4g}" for name, value in self._latest.items()])

    def _show(self, now: float) -> None:
        self._shown = now, self._step
        try:
            self._write(now)
        except OSError:  # nobody reads on: Ctrl-C also ends the `tee` behind us, and a terminal closes before it sends SIGHUP
            self._primary, self._bar = False, None

    def _write(self, now: float) -> None:
        if not self._stream.isatty():
            print(self.line(now), file=self._stream, flush=True)
            return
        if self._bar is None:
            from tqdm import tqdm
            self._bar = tqdm(total=self._total, file=self._stream, bar_format="|{bar:20}| {desc}", dynamic_ncols=True)
        self._bar.n = self._step
        self._bar.set_description_str(self.line(now))


def _clock_time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
