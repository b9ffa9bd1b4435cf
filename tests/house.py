"""Count what `src/mlpax` of a checkout is made of: `python tests/house.py [ROOT]`.

It counts code lines (without docstrings, comments and blank lines), `Any`s and aliases of `Any` in
annotations, how many of them are the whole annotation, imports inside functions, and functions of more
than 60 code lines. It runs on any commit.
"""

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LONG = 60  # code lines of a function, without its docstring
NOT_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
            tokenize.ENCODING, tokenize.ENDMARKER}  # fmt: skip
SCOPES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass
class House:
    """The counts of all files."""

    files: int = 0
    lines: int = 0
    anys: int = 0  # every one in an annotation, as in dict[str, Any]
    bare_anys: int = 0  # annotations that are Any and nothing else
    imports: list[str] = field(default_factory=list[str])  # inside functions, as file:line: import
    functions: dict[str, int] = field(default_factory=dict[str, int])  # code lines of each, as file:line name

    @property
    def long_functions(self) -> dict[str, int]:
        return {name: lines for name, lines in self.functions.items() if lines > LONG}


def code_lines(text: str, tree: ast.Module) -> set[int]:
    """Return the numbers of the lines that hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NOT_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, SCOPES) and ast.get_docstring(node, clean=False) is not None:
            docstring = node.body[0]
            lines -= set(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    return lines


def annotations(tree: ast.Module) -> Iterator[ast.expr]:
    """Yield every annotation: of parameters, results, variables and fields."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.arg, ast.AnnAssign)) and node.annotation:
            yield node.annotation
        elif isinstance(node, FUNCTIONS) and node.returns:
            yield node.returns


def names(annotation: ast.expr) -> Iterator[str]:
    """Yield the names in an annotation, also where it is written as text."""
    for node in ast.walk(annotation):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                yield from names(ast.parse(node.value, mode="eval").body)
            except SyntaxError:  # a shape of jaxtyping, or an option of a Literal
                continue


def aliases_of_any(trees: dict[str, ast.Module]) -> set[str]:
    """Return `Any` and the names that stand for it anywhere, such as `PyTree = Any`."""
    found = {"Any"}
    for tree in trees.values():
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id == "Any":
                found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def inner_imports(function: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports inside a function, but not those of the functions in it."""
    for node in ast.iter_child_nodes(function):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif not isinstance(node, FUNCTIONS):
            yield from inner_imports(node)


def survey(root: Path) -> House:
    """Return the counts of `src/mlpax` under a checkout's root."""
    source = root / "src" / "mlpax"
    texts = {str(p.relative_to(source)): p.read_text(encoding="utf-8") for p in sorted(source.rglob("*.py"))}
    trees = {name: ast.parse(text) for name, text in texts.items()}
    any_names = aliases_of_any(trees)
    house = House(files=len(texts))
    for name, tree in trees.items():
        lines = code_lines(texts[name], tree)
        house.lines += len(lines)
        for annotation in annotations(tree):
            found = list(names(annotation))
            house.anys += sum(one in any_names for one in found)
            house.bare_anys += len(found) == 1 and found[0] in any_names
        for node in ast.walk(tree):
            if isinstance(node, FUNCTIONS):
                span = range(node.lineno, (node.end_lineno or node.lineno) + 1)
                house.functions[f"{name}:{node.lineno} {node.name}"] = len(lines & set(span))
                house.imports += [
                    f"{name}:{found.lineno}: {ast.unparse(found)}" for found in inner_imports(node)
                ]
    return house


def main() -> None:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]
    house = survey(root)
    print(f"files                              {house.files:6}")
    print(f"code lines                         {house.lines:6}")
    print(f"Any and its aliases in annotations {house.anys:6}")
    print(f"  of them the whole annotation     {house.bare_anys:6}")
    print(f"imports inside functions           {len(house.imports):6}")
    print(f"functions over {LONG} code lines       {len(house.long_functions):6}")
    for name, lines in house.long_functions.items():
        print(f"  {name}: {lines} lines")
    for line in house.imports:
        print(f"  {line}")


if __name__ == "__main__":
    main()
