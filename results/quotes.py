"""Numbers in pages that carry the key of their record in a comment, so that they are refreshed and tested.

`+0.50 [+0.22, +0.77] points<!-- cifar10_fast accuracy/accuracy validation difference alpha=0.1 -->` quotes the mean and
interval of a record; ` %` and ` points` mean hundredths. A key is FOLDER STUDY/QUANTITY SPLIT [difference] [FIELD=VALUE
...], where "_" stands for a space.
"""
import functools
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from ls_jax.studies.common import records  # noqa: E402

NUMBER = r"[+-]?\d+(?:\.\d+)?"
QUOTE = re.compile(rf"(?P<mean>{NUMBER})(?: ± (?P<std>{NUMBER}))?(?: \[(?P<low>{NUMBER}), (?P<high>{NUMBER})\])?"
                   r"(?P<unit> %| points)?<!-- (?P<key>[a-z0-9_]+ [a-z]\w*/.*?) -->")


def record_of(key: str) -> records.Record:
    """The record that a key names.

    Raises:
        ValueError: it names none, or several.
    """
    folder, of, split, *fields = key.split(" ")
    study, quantity = of.split("/")
    chosen = {"study": study, "quantity": quantity, "split": split, "kind": records.VALUE}
    for field in fields:
        name, given, value = field.partition("=")
        chosen |= {name: _value(value)} if given else {"kind": name}
    found = [record for record in _read(folder)
             if all(_plain(record.arm if name == "arm" else record.get(name)) == value
                    for name, value in chosen.items())]
    if len(found) != 1:
        raise ValueError(f"{key!r} names {len(found)} records")
    return found[0]


def numbers(quote: re.Match) -> dict[str, str]:
    """{part: its text} of a quote's parts, as its record has them now, with as many digits as are printed."""
    record, scale = record_of(quote["key"]), 100 if quote["unit"] else 1
    low, high = record.interval or (None, None)
    found = {}
    for name, value in {"mean": record.mean, "std": record.std, "low": low, "high": high}.items():
        if quote[name]:
            sign, digits = "+" if quote[name][0] in "+-" else "", len(quote[name].partition(".")[2])
            found[name] = f"{scale * value:{sign}.{digits}f}"
    return found


def refreshed(text: str) -> str:
    """A page with the quoted numbers as the records have them now."""
    def fresh(quote):
        new, start = quote[0], quote.start()
        for name in reversed(list(numbers(quote))):
            new = new[:quote.start(name) - start] + numbers(quote)[name] + new[quote.end(name) - start:]
        return new

    return QUOTE.sub(fresh, text)


@functools.cache
def _read(folder):
    return records.read(HERE / folder)


def _plain(value):
    return value.replace(" ", "_") if isinstance(value, str) else value


def _value(text):
    try:
        return float(text)
    except ValueError:
        return text
