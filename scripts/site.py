"""A hook of MkDocs: pages outside docs/ join the site, and links between them work there as they do in the repository.

The README is its first page. Below it are docs/, CONTRIBUTING.md, CHANGELOG.md and results/. A link to another file of
the repository leads to `repo_url` where mkdocs.yml has one; without, its text remains.
"""
import os
import pathlib
import posixpath
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).resolve().parents[1]
ALONE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:)([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """All of docs/, and the pages and pictures that stand elsewhere."""
    more = [ROOT / name for name in ALONE]
    more += [path for kind in ("*.md", "*.png") for path in sorted((ROOT / "results").rglob(kind))]
    for path in more:
        files.append(File.generated(config, place_on_site(path.relative_to(ROOT).as_posix()), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with links as they are on the site."""
    here = place_in_repository(page.file.src_uri)

    def of_site(link: re.Match) -> str:
        picture, text, target, anchor = link[1], link[2], link[3], link[4] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(here), target))
        there = place_on_site(path)
        if files.get_file_from_path(there) is not None:
            start = posixpath.dirname(page.file.src_uri) or "."
            return f"{picture}[{text}]({posixpath.relpath(there, start)}{anchor})"
        if not os.path.exists(ROOT / path):
            raise SystemExit(f"{here}: the link {target} leads nowhere")
        return f"[{text}]({config.repo_url.rstrip('/')}/blob/main/{path})" if config.repo_url else text

    parts = re.split(r"(```.*?```)", markdown, flags=re.DOTALL)  # code is left as it is
    return "".join(part if part.startswith("```") else LINK.sub(of_site, part) for part in parts)


def place_on_site(path: str) -> str:
    """Where a file of the repository is on the site: docs/ is its top."""
    return path.removeprefix("docs/")


def place_in_repository(place: str) -> str:
    """The opposite of `place_on_site`."""
    return place if place in ALONE or place.startswith("results/") else f"docs/{place}"
