"""A YAML file as plain values, each with its place; what YAML would read differently stays as written.

Reads exactly one document of YAML 1.1, as PyYAML (and so SkyPilot) does. Meaning of keys is left to others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from gpuforge.models.resources import Mark
from gpuforge.spec.mistakes import KeyPath, Marks, Origins, Refusal, spec_error
from gpuforge.spec.wording import printable, quoted

if TYPE_CHECKING:
    from gpuforge.errors import SpecError

__all__ = ["Document", "Written", "read_document"]

_LARGEST_BYTES = 1024 * 1024
_MOST_NODES = 10_000  # a task file has dozens; more comes from aliases that multiply
_DEEPEST = 32
_BOM = "\ufeff"
_TAG = "tag:yaml.org,2002:"
_PLAIN = frozenset({f"{_TAG}{kind}" for kind in ("bool", "int", "float", "timestamp")})
_TEXT = frozenset({f"{_TAG}{kind}" for kind in ("str", "value", "merge")})


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A plain scalar that YAML 1.1 does not read as text.

    Attributes:
        text: As written in the file.
        value: What YAML reads: a bool, int, float, date or datetime; ``None`` when it cannot be read at all.
    """

    text: str
    value: object

    @property
    def is_exact(self) -> bool:
        """Turning the reading back to text gives what is written."""
        return str(self.value) == self.text


@dataclass(slots=True, kw_only=True)
class Document:
    """One document: values, where each stands, and what was refused on the way."""

    values: dict[str, Any]
    origins: Origins
    refusals: list[Refusal] = field(default_factory=list)


def read_document(data: bytes | str, *, file: str) -> Document:
    """Read one YAML document.

    Args:
        data: The file's content.
        file: Its name as shown to the user.

    Raises:
        SpecError: It is not one YAML map; with the line.
    """
    text = _decode(data, file)
    page = _Page(text, file)
    nodes = _compose(text, page)
    if not nodes:
        raise _error(
            file, Mark(file=file, line=1, column=1), "the file is empty; gpuforge init writes a task file"
        )
    if len(nodes) > 1:
        message = f"this file holds {len(nodes)} tasks (a pipeline); gpuforge reads one task per file"
        raise _error(file, page.mark(nodes[1].start_mark), message)
    if not isinstance(nodes[0], yaml.MappingNode):
        mark = page.mark(nodes[0].start_mark)
        raise _error(file, mark, "a task file is a map of keys, such as run: python train.py")
    reader = _Reader(page)
    values = reader.root(nodes[0])
    return Document(values=values, origins=Origins(file=file, marks=reader.marks), refusals=reader.refusals)


def _decode(data: bytes | str, file: str) -> str:
    start = Mark(file=file, line=1, column=1)
    if len(data) > _LARGEST_BYTES:
        raise _error(file, start, "the file is larger than 1 MiB; a task file is a page of text")
    if isinstance(data, bytes):
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            before = data[: error.start].split(b"\n")
            mark = Mark(file=file, line=len(before), column=len(before[-1]) + 1)
            message = f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
            raise _error(file, mark, message) from None
    else:
        text = data
    return text.removeprefix(_BOM).replace("\r\n", "\n")


def _error(file: str, mark: Mark, message: str) -> SpecError:
    origins = Origins(file=file, marks={(): Marks(key=mark, value=mark)})
    return spec_error(origins, [Refusal(message=message)])


class _Page:
    """The text as lines, for places and their snippets; what ``secrets`` holds is left out of them."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.lines = text.split("\n")
        self._hidden = _lines_of_secrets(self.lines)

    def mark(
        self, start: yaml.Mark, end: yaml.Mark | None = None, *, key_end: yaml.Mark | None = None
    ) -> Mark:
        """A place, with its text up to ``end`` or the end of the line.

        In ``secrets`` nothing but a key (up to ``key_end``) is shown.
        """
        line = self.lines[start.line] if start.line < len(self.lines) else ""
        stop = end.column if end is not None and end.line == start.line else len(line)
        if start.line in self._hidden:
            stop = key_end.column if key_end is not None and key_end.line == start.line else start.column
        snippet = printable(line[start.column : stop].rstrip())
        return Mark(file=self.file, line=start.line + 1, column=start.column + 1, snippet=snippet)


def _lines_of_secrets(lines: list[str]) -> frozenset[int]:
    """Lines that belong to a ``secrets`` key; by the text alone, so that it holds in broken files too."""
    hidden: set[int] = set()
    inside = False
    for number, line in enumerate(lines):
        begins_key = line[:1].strip() and line[:1] not in "-}]#"
        inside = "secrets" in line or (inside and not begins_key)
        if inside:
            hidden.add(number)
    return frozenset(hidden)


class _Loader(yaml.SafeLoader):
    """Composes only; refuses depth, which would end in a RecursionError."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _compose(text: str, page: _Page) -> list[yaml.Node]:
    """Every document that says something."""
    try:
        loader = _Loader(text)
        nodes: list[yaml.Node] = []
        while loader.check_node():
            node = loader.get_node()
            if node is not None and not _is_null(node):
                nodes.append(node)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        mark = Mark(file=page.file, line=line, column=column)
        raise _error(
            page.file, mark, f"character U+{ord(text[error.position]):04X} is not allowed in YAML"
        ) from None
    except yaml.MarkedYAMLError as error:
        # where something was begun says more than where its end was missed
        begun = any(
            words in str(error.problem) for words in ("end of stream", "<stream end>", "expected ':'")
        )
        at = (error.context_mark if begun else None) or error.problem_mark or error.context_mark
        mark = Mark(file=page.file, line=1, column=1) if at is None else page.mark(at)
        raise _error(page.file, mark, _explain(error, page.lines, mark)) from None
    return nodes


def _is_null(node: yaml.Node) -> bool:
    return bool(isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}null")


def _explain(error: yaml.MarkedYAMLError, lines: list[str], mark: Mark) -> str:
    problem = error.problem or "not YAML"
    line = lines[mark.line - 1] if mark.line <= len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())] or "'\\t'" in problem:
        return "a tab; YAML is indented with spaces"
    if "mapping values are not allowed" in problem:
        if ":" not in line[: mark.column - 1]:
            return 'a line above this one has no ": "; write key: value'
        return 'a second ": " where a value stands; put quotes around the value, or begin a new line'
    if "could not find expected ':'" in problem:
        return 'a key without ": "; write key: value'
    if problem.startswith("expected <block end>"):
        return "this line does not line up with the ones above; give keys of one map the same indentation"
    context = f"{error.context}: " if error.context else ""
    return printable(f"not YAML: {context}{problem}")


class _Reader:
    """Turns nodes into values, keeping the place of each."""

    def __init__(self, page: _Page) -> None:
        self._page = page
        self._nodes = 0
        self._open: list[yaml.Node] = []
        self._scalars = yaml.SafeLoader("")
        self.marks: dict[KeyPath, Marks] = {}
        self.refusals: list[Refusal] = []

    def root(self, node: yaml.MappingNode) -> dict[str, Any]:
        """The whole document."""
        self._note((), node, node)
        values: dict[str, Any] = self._value(node, ())
        return values

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        """A map with text keys; doubles are refused, what ``<<`` merges stands below what is written."""
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                for name, value in self._merged(value_node, path).items():
                    values.setdefault(name, value)
        first_lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                continue
            key = self._key(key_node, path)
            if key is None:
                continue
            if key in first_lines:
                message = f"{quoted(key)} is written twice; first on line {first_lines[key]}"
                self._refuse_at(key_node, (*path, key, "again"), message)
                continue
            first_lines[key] = key_node.start_mark.line + 1
            self._note((*path, key), key_node, value_node)
            values[key] = self._value(value_node, (*path, key))
        return values

    def _merged(self, node: yaml.Node, path: KeyPath) -> dict[str, Any]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, Any] = {}
        for source in reversed(sources):  # the first of them wins, and so do its marks
            if not isinstance(source, yaml.MappingNode):
                self._refuse_at(node, (*path, "<<"), '"<<" merges a map; write <<: *name')
                continue
            merged.update(self._value(source, path))
        return merged

    def _key(self, node: yaml.Node, path: KeyPath) -> str | None:
        value = self._scalar(node) if isinstance(node, yaml.ScalarNode) else node
        if isinstance(value, Written) and value.is_exact:
            value = value.text
        if isinstance(value, str):
            return value
        if isinstance(value, Written):
            message = f"YAML does not read {quoted(value.text)} as text; put quotes around the key"
        else:
            message = "a key is text"
        self._refuse_at(node, (*path, node.start_mark.line, node.start_mark.column), message)
        return None

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise _error(
                self._page.file, self._at(node), f"aliases multiply to more than {_MOST_NODES:,} values"
            )
        if node in self._open:
            raise _error(self._page.file, self._at(node), "an alias that contains itself")
        if isinstance(node, yaml.ScalarNode):
            return self._plain(node, path)
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                self._check_tag(node, "map", path)
                return self._mapping(node, path)
            self._check_tag(node, "seq", path)
            items = []
            for index, item in enumerate(node.value):
                self._note((*path, index), item, item)
                items.append(self._value(item, (*path, index)))
            return items
        finally:
            self._open.pop()

    def _plain(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        if node.tag not in _PLAIN | _TEXT and node.tag != f"{_TAG}null":
            self._check_tag(node, "str", path)
            return node.value
        return self._scalar(node)

    def _scalar(self, node: yaml.ScalarNode) -> str | Written | None:
        if node.tag in _TEXT:
            return str(node.value)
        if node.tag == f"{_TAG}null":
            return None
        try:
            value = self._scalars.construct_object(node)
        except (ValueError, yaml.YAMLError):
            value = None
        return Written(text=node.value, value=value)

    def _check_tag(self, node: yaml.Node, expected: str, path: KeyPath) -> None:
        if node.tag != f"{_TAG}{expected}":
            tag = node.tag.replace(_TAG, "!!")
            self.refusals.append(Refusal(at=path, message=f"the tag {quoted(tag)} is not read; remove it"))

    def _note(self, path: KeyPath, key: yaml.Node, value: yaml.Node) -> None:
        is_block = not isinstance(value, yaml.ScalarNode) and value is not key
        end = value.end_mark if value.end_mark.line == key.start_mark.line else None
        # an item of a list has no key, so nothing of it may be shown in secrets
        key_end = None if value is key else key.end_mark
        key_mark = self._page.mark(key.start_mark, end, key_end=key_end)
        if _is_null(value) or (is_block and value.start_mark.line != key.start_mark.line):
            # nothing is written there, or it begins on a later line: the key is the place to look at
            self.marks[path] = Marks(key=key_mark, value=key_mark)
            return
        self.marks[path] = Marks(key=key_mark, value=self._at(value))

    def _at(self, node: yaml.Node) -> Mark:
        return self._page.mark(node.start_mark, node.end_mark)

    def _refuse_at(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        """Refuse something that has no path of its own."""
        mark = self._at(node)
        self.marks[path] = Marks(key=mark, value=mark)
        self.refusals.append(Refusal(at=path, message=message, on_key=True))
