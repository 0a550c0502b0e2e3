"""Percentiles of file and function sizes, and the ten longest of each: a guide, not a gate."""

from __future__ import annotations

import ast
from pathlib import Path


def percentile(values: list[int], share: float) -> int:
    """The value below which ``share`` of the values lie."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    """Print the table."""
    files: list[tuple[int, str]] = []
    functions: list[tuple[int, str]] = []
    for path in sorted(Path("src").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        files.append((text.count("\n"), str(path)))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                functions.append((length, f"{path}:{node.lineno} {node.name}"))
    for title, rows in (("files", files), ("functions", functions)):
        sizes = [size for size, _ in rows]
        print(
            f"{title}: count={len(rows)} median={percentile(sizes, 0.5)} p90={percentile(sizes, 0.9)}"
            f" max={max(sizes)}"
        )
        for size, name in sorted(rows, reverse=True)[:10]:
            print(f"  {size:5}  {name}")
    print(f"sizes: files={len(files)} functions={len(functions)} lines={sum(size for size, _ in files)}")


if __name__ == "__main__":
    main()
