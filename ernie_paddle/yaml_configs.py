"""The location of the shipped configurations, and reading of YAML settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from propeller.errors import UserError


def configs_dir() -> Path:
    """The folder of shipped configurations, inside an installed package or next to it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the mapping of settings in a YAML file.

    Raises:
        UserError: The file does not exist, is not YAML, or is not a mapping.
    """
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        line = f":{place.line + 1}" if place else ""
        raise UserError(f"{path}{line}: not valid YAML ({getattr(error, 'problem', error)})") from None
    if not isinstance(loaded, dict):
        raise UserError(f"{path}: expected a mapping of settings at the top level")
    return loaded
