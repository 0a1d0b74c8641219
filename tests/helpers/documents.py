"""The commands that the documents print."""

from __future__ import annotations

import re

from helpers.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(section: str) -> list[str]:
    """The lines of the bash blocks below a heading; a line that ends in a backslash goes on in the next."""
    text = README.split(f"\n## {section}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    return [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]
