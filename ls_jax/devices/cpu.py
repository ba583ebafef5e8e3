"""The fastest flags for a network under which XLA:CPU computes right. This module imports no JAX: it must run before.

One flag says which operations XLA:CPU fuses and gives to the library YNNPACK. Under most of its values, also the
default, some jaxlibs return garbage without an error (`ls_jax.devices.patterns`), and so may new ones. So a value is
used only after a separate process has computed the patterns right under it, with this jaxlib on this processor. The
outcomes are saved in the cache directory.
"""
import functools
import importlib.util
import json
import mmap
import os
import pathlib
import subprocess
import sys
import warnings
from typing import Any

from ls_jax import cache

FLAG = "xla_cpu_experimental_ynn_fusion_type"
OURS = "LS_JAX_XLA_FLAGS"  # environment variable: XLA_FLAGS as set by this module, so that a child can choose anew

DOT, ELTWISE, REDUCE = (f"LIBRARY_FUSION_TYPE_{kind}" for kind in ("DOT", "ELTWISE", "REDUCE"))
EVERYTHING, PRODUCTS = f"{DOT},{ELTWISE},{REDUCE}", f"{DOT},{REDUCE}"
NO_CONVOLUTIONS, NO_REDUCTIONS, NOTHING = "-individual_convolution,-reduce", "-reduce", ""
DEFAULT = None  # the flag is not given
VALUES = (DEFAULT, EVERYTHING, PRODUCTS, NO_CONVOLUTIONS, NOTHING, NO_REDUCTIONS)  # all that are ever tried

_JAX_WAS_THERE = "jax" in sys.modules  # imported before this module, so that a program may have used it
QUIET = 2       # seconds until a line says that a test is running
TIMEOUT = 300   # seconds after which a test has failed
FAILED = "the test itself failed"
ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd", "/dev/accel0", "/dev/vfio/0")  # NVIDIA's, AMD's, Google's


def be_safe() -> None:
    """Give YNNPACK nothing to do until `choose_flags` has tested a faster value; `import ls_jax` calls this.

    The value needs no test: it was right wherever it was tried. A value that the user has set stays. If JAX has
    started, the patterns are computed in this process, and a warning says if they are wrong.
    """
    if _started():
        _warn_if_wrong(_wrong_here())
    elif not _is_set(os.environ.get("XLA_FLAGS", "")) and _known(NOTHING):
        _set(NOTHING)


def candidates(fastest: str | None = None) -> tuple[str | None, ...]:
    """The flag's values in the order of their speed for a network (benchmarks/cpu_flags.py).

    Args:
        fastest: the value that the network declares (`ls_jax.models.cpu_fusion`); None: it is fastest by XLA's default.
    """
    if fastest is None:
        return DEFAULT, NO_REDUCTIONS, NO_CONVOLUTIONS, NOTHING
    return fastest, NO_CONVOLUTIONS, NOTHING, NO_REDUCTIONS, DEFAULT


def choose_flags(fastest: str | None = None) -> None:
    """Put the fastest value under which the patterns are right into XLA_FLAGS; call it before JAX's first array.

    A value that the user has set stays. A RuntimeWarning says if XLA computes wrong: under the user's value, under all
    values, or because JAX has started already, so that its flags cannot change.

    Args:
        fastest: the value under which the network is fastest; see `candidates`.
    """
    if _started():
        _warn_if_wrong(_wrong_here())
    elif _is_set(_users_flags()):
        _warn_if_wrong(_tested(_users_flags()))
    elif _on_cpu():
        for value in filter(_known, candidates(fastest)):
            if not _tested(_with(value)):
                _set(value)
                return
        _warn_if_wrong(_tested(_users_flags()))


def outcome() -> dict[str, str]:
    """{"XLA_FLAGS": the flags, "patterns": "right", "wrong: NAMES" or "not tested"}."""
    flags = os.environ.get("XLA_FLAGS", "")
    if not _on_cpu():
        return {"XLA_FLAGS": flags, "patterns": "not tested"}
    if _started() and (_JAX_WAS_THERE or flags not in _OUTCOMES):  # XLA may have read other flags before
        _warn_if_wrong(_wrong_here())
        wrong = _wrong_here()
    else:
        wrong = _OUTCOMES.get(flags)
    if wrong is None:
        return {"XLA_FLAGS": flags, "patterns": "not tested"}
    return {"XLA_FLAGS": flags, "patterns": f"wrong: {', '.join(wrong)}" if wrong else "right"}


def _is_set(flags: str) -> bool:
    """Whether the flags hold a value of FLAG, or name a file with flags (XLA's other form), which is left alone."""
    return FLAG in flags or not flags.startswith(("-", " ")) and flags != ""


def _users_flags() -> str:
    """The user's XLA_FLAGS, without the value that this module added in this process or in its parent."""
    flags = os.environ.get("XLA_FLAGS", "")
    return flags.partition(f"--{FLAG}=")[0].strip() if flags == os.environ.get(OURS) else flags


def _with(value: str | None) -> str:
    """The user's flags with this value of FLAG."""
    return _users_flags() if value is None else f"{_users_flags()} --{FLAG}={value}".strip()


def _set(value: str | None) -> None:
    os.environ["XLA_FLAGS"] = os.environ[OURS] = _with(value)


def _started() -> bool:
    """Whether JAX has started its backends; they have then read the flags."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bridge is not None and bridge.backends_are_initialized()


def _on_cpu() -> bool:
    """Whether JAX will compute on the CPU: JAX_PLATFORMS names it first, or nothing and there is no accelerator."""
    first, _, _ = os.environ.get("JAX_PLATFORMS", "").partition(",")
    return first == "cpu" if first else not _accelerator()


def _accelerator() -> bool:
    """Whether there is a GPU or TPU and a JAX plugin for one. The test would hold it for half a minute, unused."""
    return (any(pathlib.Path(device).exists() for device in ACCELERATORS)
            and any(importlib.util.find_spec(module) for module in ("jax_plugins", "libtpu")))


@functools.cache
def _wrong_here() -> list[str] | None:
    """The names of the patterns that this process computes wrong; None without a CPU backend."""
    from ls_jax.devices import patterns

    try:
        return patterns.wrong()
    except RuntimeError:  # no such backend
        return None


_OUTCOMES: dict[str, list[str]] = {}  # XLA_FLAGS: the patterns that are wrong under them, as far as this process knows


def _tested(flags: str) -> list[str]:
    """The names of the patterns that are wrong under these XLA_FLAGS, from the cache or a test in a new process."""
    if flags not in _OUTCOMES:
        file = cache.directory() / "cpu_flags" / f"{_fingerprint(flags)}.json"
        try:
            _OUTCOMES[flags] = _names(json.loads(file.read_text(encoding="utf-8"))["wrong"])
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            _OUTCOMES[flags] = _compute(flags, file)
    return _OUTCOMES[flags]


def _compute(flags: str, file: pathlib.Path) -> list[str]:
    """`_tested`, from a test in a new process; the outcome is saved in `file`."""
    # JAX's settings, such as JAX_DISABLE_JIT, must not change the test.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment = {**inherited, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    program = pathlib.Path(__file__).with_name("patterns.py")
    with subprocess.Popen([sys.executable, "-P", str(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, text=True, env=environment) as child:
        try:
            output, errors = child.communicate(timeout=QUIET)
        except subprocess.TimeoutExpired:
            print(f"ls_jax: testing once whether XLA computes right here with XLA_FLAGS={flags!r}", file=sys.stderr,
                  flush=True)
            try:
                output, errors = child.communicate(timeout=TIMEOUT)
            except subprocess.TimeoutExpired:
                child.kill()
                output, errors = "", f"no answer within {TIMEOUT} s"
    try:
        wrong = _names(json.loads(output))
    except (ValueError, TypeError):  # it was killed or aborted; the next time may differ, so this is not saved
        lines = errors.strip().splitlines() or [f"status {child.returncode}"]
        return [f"{FAILED} ({next((line for line in lines if 'Unknown flag' in line), lines[-1]).strip()})"]
    _keep(file, {"flags": flags, "wrong": wrong, "jaxlib": _version(), "processor": _processor()[0]})
    return wrong


def _names(value: Any) -> list[str]:
    """`value`, which must be a list of names.

    Raises:
        TypeError: it is anything else.
    """
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"not a list of names: {value!r}")
    return value


def _keep(file: pathlib.Path, content: dict) -> None:
    """Write the outcome, whole or not at all; an error is ignored, since the cache only saves time."""
    temporary = file.with_name(f".{file.name}-{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, file)
    except OSError:
        pass


def _fingerprint(flags: str) -> str:
    """A hash of all that an outcome depends on: flags, jaxlib's file, the patterns, the processor and its cores."""
    import hashlib  # imported here, as others inside functions, to keep `import ls_jax` fast

    library, patterns = _library(), pathlib.Path(__file__).with_name("patterns.py").read_text(encoding="utf-8")
    stat = library.stat() if library else None
    parts = flags, _version(), stat and (stat.st_size, stat.st_mtime_ns), patterns, _processor()
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _processor() -> tuple[str, str, int]:
    """(model, its features, number of cores that this process may use)."""
    import platform

    lines = {}
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            lines.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    model = lines.get("model name") or platform.processor() or platform.machine()
    return model, lines.get("flags") or lines.get("Features", ""), cores


def _version() -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version("jaxlib")
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def _library() -> pathlib.Path | None:
    """The file that holds the flags, in the jaxlib that would be imported; None without jaxlib."""
    spec = importlib.util.find_spec("jaxlib")
    files = sorted(pathlib.Path(spec.origin).parent.glob("*jax_common*")) if spec and spec.origin else []
    return files[0] if files else None


@functools.cache
def _known(value: str | None) -> bool:
    """Whether jaxlib knows the flag and its value, by the strings in its file. An unknown flag aborts the process."""
    if value is None:
        return True
    if _library() is None:
        return False
    with open(_library(), "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        # A registered flag is a C string between NUL bytes; a protocol buffer may still name a retired one.
        words = [f"\0{FLAG}\0", *(value.split(",") if value.isupper() else [])]
        return all(content.find(word.encode()) >= 0 for word in words)


@functools.cache
def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)


def _warn_if_wrong(wrong: list[str] | None) -> None:
    """Warn, once per message, that XLA computes wrong, and say what to do."""
    if not wrong:
        return
    flags = os.environ.get("XLA_FLAGS", "")
    if wrong[0].startswith(FAILED):
        _warn(f"whether XLA computes right on this processor with jaxlib {_version()} and XLA_FLAGS={flags!r} is not "
              f"known: {wrong[0]}")
        return
    if _is_set(_users_flags()):
        remedy = f"take --{FLAG} out of XLA_FLAGS"
    elif _started():
        remedy = "call ls_jax.setup() before JAX's first array"
    else:
        remedy = "install another jaxlib, such as 0.10.1"
    where = f"on this processor with jaxlib {_version()} and XLA_FLAGS={flags!r}"
    _warn(f"XLA computes wrong {where} ({', '.join(wrong)}), so no result can be trusted: {remedy}")
