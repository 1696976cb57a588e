"""For mkdocs.yml: the site's pages are those of the nav, each at its own path in the repository, and files that they
link to. mkdocs itself takes one folder only, and README, FORMAT and others lie elsewhere."""

import re
from pathlib import Path

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\]\(([^)\s#]+)")


def on_files(files: Files, config) -> Files:
    """In place of what lies in docs: the pages, and then whatever a page links to, one after the other."""
    for file in [f for f in files if f.abs_src_path and Path(f.abs_src_path).is_relative_to(ROOT / "docs")]:
        files.remove(file)
    left = [ROOT / path for path in (*paths(config.nav), *map(str, config.extra_css))]
    seen = set()
    while left:
        path = left.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
        if path.suffix == ".md":
            links = LINK.findall(path.read_text())
            left += [(path.parent / link).resolve() for link in links if "://" not in link]
    return files


def paths(nav) -> list[str]:
    """All files that the nav has."""
    if isinstance(nav, str):
        return [nav]
    return [path for part in (nav.values() if isinstance(nav, dict) else nav) for path in paths(part)]
