"""Adds to the site what is not in `docs/`: the README, the other documents of the project, its pictures, the notebooks.

A hook of MkDocs. Links between them are written as the forge needs them, and are adapted here. The site requests
nothing from the network: what theme and notebooks would load is replaced or removed, and what is left is an error.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "LICENSE")
FOLDERS = ("assets", "notebooks")

WORKER = "https://unpkg.com/iframe-worker/shim"
LIVE_PAGE = re.compile(r'<iframe[^>]*src="http://127\.0\.0\.1.*?</iframe>', re.DOTALL)
SCRIPT = re.compile(
    r"<script(?:[^>]*src=\"https?://[^>]*>|[^>]*>(?:(?!</script>).)*html-manager@).*?</script>", re.DOTALL
)
STYLE_SHEET = re.compile(r'"url":\s*"https?://[^"]*\.css[^"]*"')
REQUEST = re.compile(r'<(?:script|link|img|iframe)\b[^>]*(?:src|href)="https?://[^"]*"')


@event_priority(100)  # before the plug-in that turns notebooks into pages
def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the pages."""
    more = [path for path in PAGES if (ROOT / path).exists()]
    for folder in FOLDERS:
        more += [str(path.relative_to(ROOT)) for path in sorted((ROOT / folder).iterdir()) if path.is_file()]
    for path in more:
        files.append(File(path, str(ROOT), config["site_dir"], config["use_directory_urls"]))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links out of `docs/`, and those into it, lead to the pages of the site."""
    if page.file.src_uri in PAGES:
        return re.sub(r"(?<=\]\()docs/", "", markdown)
    depth = page.file.src_uri.count("/")
    out = "../" * (depth + 1)
    return markdown.replace(f"]({out}", f"]({'../' * depth}")


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Nothing is requested; search works from a folder, too."""
    top = "../" * page.url.count("/")
    output = output.replace(WORKER, f"{top}worker_in_a_frame.js")
    if page.file.src_uri.endswith(".ipynb"):
        output = LIVE_PAGE.sub(f'<img alt="The live page" src="{top}assets/live_page.jpg">', output)
        output = SCRIPT.sub("", output)  # controls of ipywidgets; they would have no kernel
        output = STYLE_SHEET.sub('"url":"data:text/css,"', output)
    requests = REQUEST.findall(output)
    if requests:
        raise PluginError(f"{page.file.src_uri} requests from the network: {requests}")
    return output


def on_post_template(output_content: str, **_: Any) -> str:
    """So does the page of wrong addresses."""
    return output_content.replace(WORKER, "worker_in_a_frame.js")
