"""Python names for what the author named: attributes, parameters, variables and classes of exported code."""

from __future__ import annotations

import builtins
import keyword
import re
import unicodedata
from collections.abc import Iterable, Sequence

# What exported code imports or calls; nothing of the author's may hide it.
_RESERVED = (
    frozenset(keyword.kwlist) | frozenset(dir(builtins)) | {"F", "Path", "Tensor", "nn", "self", "torch"}
)


def identifier(text: str, fallback: str = "x") -> str:
    """The nearest Python name in lower case.

    >>> identifier("n[2]"), identifier("sep_conv_3x3"), identifier("1x1", "conv"), identifier("gewählt")
    ('n2', 'sep_conv_3x3', 'conv_1x1', 'gewahlt')
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    # An index reads on from its name: n[2] is n2, left[2][1] is left2_1.
    plain = re.sub(r"^([A-Za-z_]\w*?)\[(\w+)\]", r"\1\2", plain)
    plain = re.sub(r"\W+", "_", plain).strip("_").lower()
    if not plain:
        return fallback
    return plain if not plain[0].isdigit() else f"{fallback}_{plain}"


def class_name(definition: str) -> str:
    """The definition's name as a class is written.

    >>> class_name("sep_conv"), class_name("nasbench201"), class_name("n[2]")
    ('SepConv', 'Nasbench201', 'N2')
    """
    words = identifier(definition, "block").split("_")
    return "".join(word[:1].upper() + word[1:] for word in words)


def snake_case(name: str) -> str:
    """
    >>> snake_case("SepConv3x3Sum")
    'sep_conv3x3_sum'
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def free(base: str, taken: Iterable[str]) -> str:
    """``base``, or it with the first number that makes it a name of its own.

    >>> free("x", {"x", "x_2"}), free("lambda", ()), free("input", ())
    ('x_3', 'lambda_', 'input_')
    """
    held = set(taken)
    name = f"{base}_" if base in _RESERVED else base
    number = 2
    while name in held:
        name = f"{base}_{number}"
        number += 1
    return name


def numbered(bases: Sequence[str], taken: Iterable[str] = ()) -> list[str]:
    """A name for each: as it is where it stands alone, else counted from 1.

    >>> numbered(["conv", "norm", "conv"])
    ['conv_1', 'norm', 'conv_2']
    """
    held = set(taken)
    counts: dict[str, int] = {}
    names: list[str] = []
    alone = {base for base in bases if bases.count(base) == 1 and base not in held}
    for base in bases:
        if base in alone:
            name = free(base, held)
        else:
            name = base
            while name == base or name in held or name in alone:
                counts[base] = counts.get(base, 0) + 1
                name = f"{base}_{counts[base]}"
        held.add(name)
        names.append(name)
    return names


def plural(word: str) -> str:
    """
    >>> plural("stage"), plural("branch"), plural("mbconv_2")
    ('stages', 'branches', 'mbconv_2s')
    """
    return word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")
