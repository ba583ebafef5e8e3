"""Flags of XLA:CPU under which it computes right, and among those the fastest for a network. Imports no JAX, so that it can run before it.

One flag says which work XLA:CPU hands to a library (YNNPACK) and fuses there. Under most of its values, the default included, some
jaxlibs return garbage without an error (`ls_jax.devices.patterns`), and new jaxlibs come. So a value is used only after a process of
its own has computed the patterns right under it, with the jaxlib and the processor at hand. Outcomes are kept in the cache directory.
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
OURS = "LS_JAX_XLA_FLAGS"  # an environment variable: XLA_FLAGS as this module set them, so that a child process may choose anew

DOT, ELTWISE, REDUCE = (f"LIBRARY_FUSION_TYPE_{kind}" for kind in ("DOT", "ELTWISE", "REDUCE"))
EVERYTHING, PRODUCTS = f"{DOT},{ELTWISE},{REDUCE}", f"{DOT},{REDUCE}"
NO_CONVOLUTIONS, NO_REDUCTIONS, NOTHING = "-individual_convolution,-reduce", "-reduce", ""
DEFAULT = None  # the flag is not given

# Values by `config.model.name`, the fastest first (benchmarks/cpu_flags.py). By default XLA:CPU fuses the backward pass of a residual
# network too much: chains of sums are recomputed inside the inputs of every weight gradient.
CANDIDATES = {
    "resnet": (EVERYTHING, NO_CONVOLUTIONS, NOTHING, NO_REDUCTIONS, DEFAULT),
    "inception_v4": (PRODUCTS, NO_CONVOLUTIONS, NOTHING, NO_REDUCTIONS, DEFAULT),
}
OTHERS = (DEFAULT, NO_REDUCTIONS, NO_CONVOLUTIONS, NOTHING)  # of every other network

_JAX_WAS_THERE = "jax" in sys.modules  # before this module, so that a program may have used it
PATIENCE = 2    # seconds until a line says what takes so long
FAILED = "the test itself failed"
LONGEST = 300   # seconds after which a test that has not ended has failed


def be_safe() -> None:
    """What `import ls_jax` does: until `choose_flags` has tested a faster value, the library is given nothing.

    It takes no time: the value was right wherever it was tried. Where the user has set the flag, it stays. Where JAX has started, the
    patterns are computed in this process, and a warning says if they are wrong.
    """
    if _started():
        _warn_if_wrong(_wrong_here())
    elif not _is_set(os.environ.get("XLA_FLAGS", "")) and _known(NOTHING):
        _set(NOTHING)


def choose_flags(network: str | None = None) -> None:
    """Put the fastest value under which the patterns are right into XLA_FLAGS; call it before JAX makes its first array.

    What the user has set in XLA_FLAGS stays. A RuntimeWarning tells where it computes wrong, where no value computes right, and where
    JAX has started already, so that its flags cannot change, and computes wrong.

    Args:
        network: `config.model.name`; None: any.
    """
    if _started():
        _warn_if_wrong(_wrong_here())
    elif _is_set(_users_flags()):
        _warn_if_wrong(_tested(_users_flags()))
    elif _on_cpu():
        for value in filter(_known, CANDIDATES.get(network, OTHERS)):
            if not _tested(_with(value)):
                _set(value)
                return
        _warn_if_wrong(_tested(_users_flags()))


def outcome() -> dict[str, str]:
    """{"XLA_FLAGS", "patterns"}: the flags, and whether the patterns came out "right", "wrong: NAMES" or were "not tested"."""
    flags = os.environ.get("XLA_FLAGS", "")
    if _started() and (_JAX_WAS_THERE or flags not in _OUTCOMES):  # then XLA may have read other flags, before these were set
        _warn_if_wrong(_wrong_here())
        wrong = _wrong_here()
    else:
        wrong = _OUTCOMES.get(flags)
    return {"XLA_FLAGS": flags,
            "patterns": "not tested" if wrong is None else f"wrong: {', '.join(wrong)}" if wrong else "right"}


def _is_set(flags: str) -> bool:
    """Whether these flags hold a value of ours to choose, or are XLA's other form, the name of a file with flags, which is left alone."""
    return FLAG in flags or not flags.startswith(("-", " ")) and flags != ""


def _users_flags() -> str:
    """XLA_FLAGS as the user has them, without what this module added, in this process or the one that started it."""
    flags = os.environ.get("XLA_FLAGS", "")
    return flags.partition(f"--{FLAG}=")[0].strip() if flags == os.environ.get(OURS) else flags


def _with(value: str | None) -> str:
    """The user's flags and a value of ours."""
    return _users_flags() if value is None else f"{_users_flags()} --{FLAG}={value}".strip()


def _set(value: str | None) -> None:
    os.environ["XLA_FLAGS"] = os.environ[OURS] = _with(value)


def _started() -> bool:
    """Whether JAX has started its backends, which then have read the flags."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bridge is not None and bridge.backends_are_initialized()


def _on_cpu() -> bool:
    """Whether JAX will have a CPU backend: it is left out only where the user says so."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    return not platforms or "cpu" in platforms.split(",")


@functools.cache
def _wrong_here() -> list[str] | None:
    """The patterns that this process, whose flags cannot change any more, computes wrong; None where it has no CPU backend."""
    from ls_jax.devices import patterns
    try:
        return patterns.wrong()
    except RuntimeError:  # no such backend
        return None


_OUTCOMES: dict[str, list[str]] = {}  # of this process: the patterns that are wrong under these XLA_FLAGS


def _tested(flags: str) -> list[str]:
    """The patterns that are wrong under these XLA_FLAGS: as remembered, else as a process of its own computes them."""
    if flags not in _OUTCOMES:
        file = cache.directory() / "cpu_flags" / f"{_fingerprint(flags)}.json"
        try:
            _OUTCOMES[flags] = _names(json.loads(file.read_text(encoding="utf-8"))["wrong"])
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            _OUTCOMES[flags] = _compute(flags, file)
    return _OUTCOMES[flags]


def _compute(flags: str, file: pathlib.Path) -> list[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}  # JAX_DISABLE_JIT, for one
    environment = {**inherited, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    program = pathlib.Path(__file__).with_name("patterns.py")
    with subprocess.Popen([sys.executable, "-P", str(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                          text=True, env=environment) as child:
        try:
            output, errors = child.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            print(f"ls_jax: testing once whether XLA computes right here with XLA_FLAGS={flags!r}", file=sys.stderr, flush=True)
            try:
                output, errors = child.communicate(timeout=LONGEST)
            except subprocess.TimeoutExpired:
                child.kill()
                output, errors = "", f"no answer within {LONGEST} s"
    try:
        wrong = _names(json.loads(output))
    except (ValueError, TypeError):  # it was killed, or aborted: what happens once need not happen again, so this is not kept
        lines = errors.strip().splitlines() or [f"status {child.returncode}"]
        return [f"{FAILED} ({next((line for line in lines if 'Unknown flag' in line), lines[-1]).strip()})"]
    _keep(file, {"flags": flags, "wrong": wrong, "jaxlib": _version(), "processor": _processor()[0]})
    return wrong


def _names(value: Any) -> list[str]:
    """A list of names, as the test prints it and the cache keeps it; TypeError for anything else."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"not a list of names: {value!r}")
    return value


def _keep(file: pathlib.Path, content: dict) -> None:
    """Write the outcome, whole or not at all; a cache that cannot be written is done without."""
    temporary = file.with_name(f".{file.name}-{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, file)
    except OSError:
        pass


def _fingerprint(flags: str) -> str:
    """Of what an outcome depends on: the flags, jaxlib's own file, the patterns, the processor and how many of its cores are there."""
    import hashlib  # here, as what else is imported inside functions: importing ls_jax shall take no time

    library, patterns = _library(), pathlib.Path(__file__).with_name("patterns.py").read_text(encoding="utf-8")
    stat = library.stat() if library else None
    parts = flags, _version(), stat and (stat.st_size, stat.st_mtime_ns), patterns, _processor()
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _processor() -> tuple[str, str, int]:
    """(model, its features, cores that this process may use)."""
    import platform

    lines = {}
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            lines.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return lines.get("model name") or platform.processor() or platform.machine(), lines.get("flags") or lines.get("Features", ""), cores


def _version() -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version("jaxlib")
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def _library() -> pathlib.Path | None:
    """The file of the jaxlib that would be imported in which the flags are."""
    spec = importlib.util.find_spec("jaxlib")
    files = sorted(pathlib.Path(spec.origin).parent.glob("*jax_common*")) if spec and spec.origin else []
    return files[0] if files else None


@functools.cache
def _known(value: str | None) -> bool:
    """Whether jaxlib holds the flag's name, and its value's words, among its strings: an unknown flag would abort the process."""
    if value is None:
        return True
    if _library() is None:
        return False
    with open(_library(), "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        # A registered flag is a C string, between NUL bytes; a retired one could still be named in a protocol buffer.
        words = [f"\0{FLAG}\0", *(value.split(",") if value.isupper() else [])]
        return all(content.find(word.encode()) >= 0 for word in words)


@functools.cache
def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)


def _warn_if_wrong(wrong: list[str] | None) -> None:
    """One warning that says what is wrong and what to do."""
    if not wrong:
        return
    flags = os.environ.get("XLA_FLAGS", "")
    if wrong[0].startswith(FAILED):
        _warn(f"whether XLA computes right on this processor with jaxlib {_version()} and XLA_FLAGS={flags!r} is not known: {wrong[0]}")
        return
    remedy = ("call ls_jax.setup() before JAX's first array" if _started() and not _is_set(_users_flags()) else
              f"take --{FLAG} out of XLA_FLAGS" if _is_set(_users_flags()) else "install another jaxlib, such as 0.10.1")
    _warn(f"XLA computes wrong on this processor with jaxlib {_version()} and XLA_FLAGS={flags!r} ({', '.join(wrong)}), so no result can "
          f"be trusted: {remedy}")
