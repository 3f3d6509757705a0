"""Measures the language of the sources: openers of doc comments, colloquial words, identifiers.

Prints a table of three measures over ``src``. Exits with 1 if a limit is exceeded.
"""

import argparse
import ast
import io
import keyword
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent / "src"

#: First words that describe a thing by a question instead of naming it.
OPENERS = re.compile(r"(?:what|how|who|where|whoever|nobody)\b", re.IGNORECASE)
#: Words that plain English expresses as "no one", "the caller" and the like.
WORDS = re.compile(r"\b(?:nobody|whoever|whither)\b", re.IGNORECASE)
#: Word parts of identifiers for which the field has standard terms (report, request, query).
PARTS = frozenset({
    "ask", "asked", "asker", "asking", "asks", "hear", "heard", "hearing", "news", "obey", "said",
    "say", "saying", "says", "tell", "teller", "telling", "tells", "told", "whither",
})  # fmt: skip
#: Limits: the share of openers in percent, the number of words, identifiers in 10,000.
MAX_OPENERS, MAX_WORDS, MAX_IDENTIFIERS = 5.0, 10, 3.0
#: Keywords of Rust, which are no identifiers.
RUST_KEYWORDS = frozenset({
    "as", "async", "await", "break", "const", "continue", "crate", "dyn", "else", "enum", "extern",
    "false", "fn", "for", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub",
    "ref", "return", "self", "Self", "static", "struct", "super", "trait", "true", "type", "unsafe",
    "use", "where", "while",
})  # fmt: skip

#: Start of a doc comment in Rust, with its text; four slashes are an ordinary comment.
DOC = re.compile(r"\s*(?://!|///(?!/))[ ]?(?P<text>.*)")
#: Comments, literals, identifiers and keywords of Rust. Nested block comments are not
#: recognised; the sources have none.
TOKENS = re.compile(
    r"""
      //[^\n]*
    | /\*.*?\*/
    | b?r(?P<hashes>\#*)".*?"(?P=hashes)
    | [bc]?"(?:\\.|[^"\\])*"
    | b?'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\\n])'
    | '[A-Za-z_]\w*
    | (?P<name>(?:r\#)?[A-Za-z_]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)
#: Words of an identifier in snake case, camel case or capitals.
PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@dataclass
class Counts:
    """Counts over some files."""

    docs: int = 0
    openers: int = 0
    words: int = 0
    identifiers: int = 0
    folklore: int = 0

    def add(self, other: "Counts") -> None:
        """Adds the counts of other files."""
        self.docs += other.docs
        self.openers += other.openers
        self.words += other.words
        self.identifiers += other.identifiers
        self.folklore += other.folklore

    @property
    def opener_share(self) -> float:
        """Share of the doc comments with such an opener, in percent."""
        return 100 * self.openers / max(self.docs, 1)

    @property
    def identifier_rate(self) -> float:
        """Number of such identifiers in 10,000."""
        return 10_000 * self.folklore / max(self.identifiers, 1)


def rust_docs(text: str) -> Iterator[tuple[int, str]]:
    """Yields line number and first line of each run of doc comment lines."""
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        found = DOC.match(line)
        if found and not inside:
            yield number, found["text"]
        inside = found is not None


def rust_names(text: str) -> Iterator[str]:
    """Yields every identifier outside of comments and literals."""
    for found in TOKENS.finditer(text):
        name = found["name"]
        if name and name not in RUST_KEYWORDS:
            yield name


def python_docs(text: str) -> Iterator[tuple[int, str]]:
    """Yields line number and first line of each string statement and each ``#:`` comment."""
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node.lineno, node.value.value.lstrip()
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        is_doc = line.lstrip().startswith("#:")
        if is_doc and not inside:
            yield number, line.lstrip()[2:].lstrip()
        inside = is_doc


def python_names(text: str) -> Iterator[str]:
    """Yields every identifier."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
            yield token.string


def is_folklore(name: str) -> bool:
    """Returns whether a part of an identifier is one of ``PARTS``."""
    return any(part.lower() in PARTS for part in PART.findall(name))


def measure(path: Path, verbose: bool) -> Counts:
    """Measures a file; prints each finding if ``verbose``."""
    text = path.read_text(encoding="utf-8")
    is_rust = path.suffix == ".rs"
    counts = Counts()
    for number, doc in rust_docs(text) if is_rust else python_docs(text):
        counts.docs += 1
        if OPENERS.match(doc):
            counts.openers += 1
            if verbose:
                print(f"{path}:{number}: opener: {doc.splitlines()[0]}")
    for number, line in enumerate(text.splitlines(), 1):
        found = WORDS.findall(line)
        counts.words += len(found)
        if found and verbose:
            print(f"{path}:{number}: word: {line.strip()}")
    for name in rust_names(text) if is_rust else python_names(text):
        counts.identifiers += 1
        if is_folklore(name):
            counts.folklore += 1
            if verbose:
                print(f"{path}: identifier: {name}")
    return counts


def files(paths: list[Path]) -> Iterator[Path]:
    """Yields the Rust and Python files at the paths, sorted."""
    for path in paths:
        found = [path] if path.is_file() else sorted(path.rglob("*"))
        yield from (file for file in found if file.suffix in {".rs", ".py"})


def main() -> int:
    """Prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "paths", nargs="*", type=Path, default=[SOURCES], help="files or folders (default: src)"
    )
    parser.add_argument(
        "--max-openers",
        type=float,
        metavar="PERCENT",
        default=MAX_OPENERS,
        help="limit of the share of openers (default: %(default)s)",
    )
    parser.add_argument(
        "--max-words",
        type=int,
        metavar="N",
        default=MAX_WORDS,
        help="limit of the number of words (default: %(default)s)",
    )
    parser.add_argument(
        "--max-identifiers",
        type=float,
        metavar="N",
        default=MAX_IDENTIFIERS,
        help="limit of the identifiers in 10,000 (default: %(default)s)",
    )
    parser.add_argument("--verbose", action="store_true", help="print each finding first")
    arguments = parser.parse_args()

    total = Counts()
    for path in files(arguments.paths):
        total.add(measure(path, arguments.verbose))

    rows = [
        (
            "doc comments that open with what/how/who/where/whoever/nobody",
            f"{total.openers} of {total.docs}",
            total.opener_share,
            "%",
            arguments.max_openers,
        ),
        ("nobody/whoever/whither", "", float(total.words), "", arguments.max_words),
        (
            "identifiers with tell/told/heard/say/said/ask/news/obey",
            f"{total.folklore} of {total.identifiers}",
            total.identifier_rate,
            "in 10,000",
            arguments.max_identifiers,
        ),
    ]
    exceeded = False
    print(f"{'measure':<62} {'count':>16} {'value':>8} {'unit':<9} {'limit':>6}")
    for title, count, value, unit, limit in rows:
        is_over = value > limit
        exceeded = exceeded or is_over
        mark = "  exceeded" if is_over else ""
        print(f"{title:<62} {count:>16} {value:>8.1f} {unit:<9} {limit:>6g}{mark}")
    return 1 if exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
