"""Characters, strings and numbers that cannot be read: what is said, and what is read in their place."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from lark import Token

from nasdsl.diagnostics import Diagnostic, Source, Span
from nasdsl.language.fault import Complaint, mended
from nasdsl.language.tokens import KEYWORDS, VALUE_ENDS, make

# What people type or paste for a sign or word of the language, and what it stands for.
_LOOKALIKES = {
    "→": ("ARROW", "->"),
    "⟶": ("ARROW", "->"),
    "≤": ("COMPARISON", "<="),
    "≥": ("COMPARISON", ">="),
    "≠": ("COMPARISON", "!="),
    "×": ("TIMES", "*"),
    "·": ("TIMES", "*"),
    "∗": ("TIMES", "*"),
    "÷": ("TIMES", "/"),
    "–": ("MINUS", "-"),
    "—": ("MINUS", "-"),
    "−": ("MINUS", "-"),
    "…": ("DOTS", ".."),
    "∈": ("IN", "in"),
    "∧": ("AND", "and"),
    "∨": ("OR", "or"),
    "¬": ("NOT", "not"),
    "&": ("AND", "and"),
    "!": ("NOT", "not"),
    "（": ("LPAR", "("),
    "）": ("RPAR", ")"),
    "，": ("COMMA", ","),
    "：": ("COLON", ":"),
    "｜": ("VBAR", "|"),
}
_QUOTES = "'“”„‟‘’`«»"


def readable(source: Source, items: Iterator[Token]) -> tuple[list[Token], list[Complaint]]:
    """The tokens, with those that no rule takes replaced by what was probably meant."""
    tokens: list[Token] = []
    complaints: list[Complaint] = []
    skip = 0
    for token in items:
        start, end = token.start_pos or 0, token.end_pos or 0
        if start < skip:
            continue
        if (token.type == "NUMBER" and not token.isdigit()) or len(token) > _MAX_DIGITS:
            if token.type == "NUMBER" and (too_large := _size_of(token)):
                place = Span(source, start, end)
                complaints.append(Complaint(Diagnostic("N005", too_large, place, _RANGE)))
                token = Token.new_borrow_pos("NUMBER", "1", token)
        elif token.type.startswith("BAD_"):
            replaced, said, skip = _mend_token(source, token, tokens[-1] if tokens else None)
            if said:
                complaints.append(Complaint(said))
            if replaced is None:
                continue
            token = replaced
        tokens.append(token)
    return tokens, complaints


_MAX_DIGITS = 100
_MAX_EXPONENT = 300
_RANGE = f"up to {_MAX_DIGITS} digits and exponents up to {_MAX_EXPONENT} can be read"


def _size_of(token: Token) -> str | None:
    if len(token) > _MAX_DIGITS:
        return "this number is too long"
    exponent = re.search(r"[eE]([+-]?[0-9]+)", token)
    if exponent and abs(int(exponent[1])) > _MAX_EXPONENT:
        return "this number is too large or too small"
    return None


def _mend_token(
    source: Source, token: Token, previous: Token | None
) -> tuple[Token | None, Diagnostic | None, int]:
    """What stands for a bad token, what is said about it, and where reading goes on."""
    start, end = token.start_pos or 0, token.end_pos or 0
    place = Span(source, start, end)
    if token.type == "BAD_NUMBER":
        return Token.new_borrow_pos("NUMBER", "1", token), _bad_number(str(token), place), end
    if token.type == "BAD_NAME":
        label = "names are made of the letters a to z and A to Z, digits and `_`"
        plain = unicodedata.normalize("NFKD", token.replace("ß", "ss")).encode("ascii", "ignore").decode()
        plain = re.sub(r"\W", "", plain)
        help_ = f"write `{plain}`" if plain.isidentifier() and plain not in KEYWORDS else None
        said = Diagnostic("N004", f"`{token}` cannot be a name", place, label, help=help_)
        return Token.new_borrow_pos("NAME", str(token), token), said, end
    if token.type == "BAD_STRING":
        return (
            Token.new_borrow_pos("STRING", f'"{token[1:]}"', token),
            Diagnostic(
                "N004",
                "this string does not end",
                place,
                'a string ends with `"` on the line where it starts',
                help=mended(place, _close_string(str(token))),
            ),
            end,
        )
    return _bad_character(source, token, previous)


def _close_string(text: str) -> str:
    """A string that lost its closing quote: it probably ended before the first space or bracket."""
    word = re.match(r'"[^\s,()\[\]{}]*', text)
    length = word.end() if word else len(text)
    return text[:length] + '"' + text[length:]


def _bad_number(text: str, place: Span) -> Diagnostic:
    number = re.match(r"[0-9]+(\.[0-9]+)?", text)
    assert number is not None
    rest = text[number.end() :]
    message, help_ = f"`{rest}` is glued to the number `{number[0]}`", None
    if text.count(".") > 1:
        message = f"`{text}` is no number: it has more than one point"
    elif "_" in text and text.replace("_", "").isdigit():
        message, help_ = "digits are not grouped with `_`", mended(place, text.replace("_", ""))
    elif rest in ("k", "m", "g"):
        help_ = f"thousands, millions and billions are `K`, `M` and `G`: `{number[0]}{rest.upper()}`"
    elif rest in ("e", "E"):
        message, help_ = (
            f"`{text}` has no exponent after `{rest}`",
            f"write `{number[0]}e3` or `{number[0]}e-3`",
        )
    elif rest[:1] in "xX" and text.startswith("0"):
        message = f"`{text}` is no number: numbers are written in tens"
    elif re.fullmatch(r"[A-Za-z_]\w*", rest):
        help_ = f"a product is written `{number[0]}*{rest}`; a name cannot begin with a digit"
    return Diagnostic("N005", message, place, "only `K`, `M` and `G` may follow a number", help=help_)


def _bad_character(
    source: Source, token: Token, previous: Token | None
) -> tuple[Token | None, Diagnostic | None, int]:
    text, start = source.text, token.start_pos or 0
    character = text[start]
    end = start + 1
    if character == "\ufeff" and start == 0:
        return None, None, end
    line, column = token.line or 0, token.column or 0

    def said(message: str, label: str = "", help: str | None = None) -> Diagnostic:
        return Diagnostic("N004", message, Span(source, start, end), label, help=help)

    if character in _QUOTES:
        closing = re.compile(f'[^"\r\n{_QUOTES}]*[{_QUOTES}]').match(text, end)
        if closing:
            end = closing.end()
            content = text[start + 1 : end - 1]
            message = said('strings stand between `"`', help=mended(Span(source, start, end), f'"{content}"'))
            return make("STRING", f'"{content}"', start, end, line, column), message, end
        return None, said(f'`{character}` cannot be read; strings stand between `"`'), end
    if character in _LOOKALIKES:
        kind, meant = _LOOKALIKES[character]
        if character == "&" and text[end : end + 1] == "&":
            end += 1
        written = text[start:end]
        place = Span(source, start, end)
        spaced = f" {meant} " if kind in ("AND", "OR") else f"{meant} " if kind == "NOT" else meant
        told = Diagnostic("N011", f"`{written}` is written `{meant}`", place, help=mended(place, spaced))
        return make(kind, meant, start, end, line, column), told, end
    if character.isspace() or unicodedata.category(character) in ("Cf", "Zs", "Zl", "Zp"):
        end = re.compile(r"[^\S \t\r\n\f]+").match(text, start).end() if character.isspace() else end  # type: ignore[union-attr]
        name = unicodedata.name(character, f"U+{ord(character):04X}").lower()
        return None, said(f"a {name} stands here", "only spaces, tabs and line breaks part words"), end
    if character == ".":
        digits = re.compile(r"\.[0-9]+").match(text, start)
        if digits:
            end = digits.end()
            place = Span(source, start, end)
            told = Diagnostic(
                "N005", "a number begins with a digit", place, help=mended(place, f"0{digits[0]}")
            )
            return make("NUMBER", f"0{digits[0]}", start, end, line, column), told, end
        if previous is not None and previous.type in VALUE_ENDS:
            return None, said("there are no attributes", "`.` only stands inside a number"), end
        return None, said("`.` only stands inside a number"), end
    if character == ";":
        return None, said("`;` is not needed", "a statement ends where its line ends"), end
    if character == "?":
        return None, said("`?` means nothing here", help="write `if c then a else b`"), end
    if character == "^":
        return None, said("there is no power operator", help="write `x*x`, or `1M` for 10 to the 6"), end
    run = re.compile(r"[^\w\s\"#(){}\[\],:=|<>+\-*/%.;^]+").match(text, start)
    if run:
        end = run.end()
    if not character.isprintable():
        return None, said(f"the character U+{ord(character):04X} cannot be read"), end
    if end - start > 1:
        return None, said("these characters mean nothing here"), end
    return None, said(f"`{character}` means nothing here"), end
