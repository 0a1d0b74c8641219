"""Recipe files: shipped ones composed of files in ``configs/``, or a user's own."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ernie_paddle.pretraining.recipe import Recipe
from ernie_paddle.yaml_configs import configs_dir, read_yaml
from propeller.errors import UserError
from propeller.settings import from_mapping, unknown_name

DEFAULT_RECIPE = "ernie2_base_en"


_SECTIONS = ("arch", "data", "train")


def recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in (configs_dir() / "recipes").glob("*.yaml"))


def load_recipe(name_or_path: str, overrides: Sequence[str] = (), corpora: Sequence[str] = ()) -> Recipe:
    """Read a recipe by its shipped name or from a file, combine its sections and check every key.

    Args:
        name_or_path: A name from :func:`recipe_names`, or a YAML file.
        overrides: ``section.key=value`` settings that replace single values (parsed as YAML), or
            ``arch=NAME``, ``data=NAME``, ``train=NAME`` for a whole section.
        corpora: Prepared corpora that replace those of the recipe's data section.

    Raises:
        UserError: The recipe or a section file does not exist or is not YAML, a key is unknown, or a value has the
            wrong type.
    """
    path = Path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        path = configs_dir() / "recipes" / f"{name_or_path}.yaml"
        if not path.is_file():
            near = difflib.get_close_matches(name_or_path, recipe_names(), n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(
                f"no recipe is named {name_or_path!r}; {hint}Give a .yaml file or one of: {', '.join(recipe_names())}"
            )
    mapping = _read_recipe(path)
    whole = [override for override in overrides if override.partition("=")[0] in _SECTIONS]
    for override in whole:
        _apply(mapping, override)
    for section in _SECTIONS:
        if isinstance(mapping.get(section), str):
            mapping[section] = read_yaml(_section_file(section, mapping[section], path))
    if corpora:
        if not isinstance(mapping.get("data"), Mapping):
            raise UserError(f"{path}: the recipe has no data section")
        mapping["data"] = {**mapping["data"], "corpora": [{"path": corpus} for corpus in corpora]}
    for override in overrides:
        if override not in whole:
            _apply(mapping, override)
    mapping.setdefault("name", path.stem)
    return from_mapping(Recipe, mapping, str(path))


def _read_recipe(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a recipe as a mapping; sections that it does not have come from its ``base`` recipe."""
    mapping = read_yaml(path)
    base = mapping.pop("base", None)
    if base is None:
        return mapping
    candidates = [folder / f"{base}.yaml" for folder in (path.parent, configs_dir() / "recipes")]
    found = next((file for file in candidates if file.is_file()), None)
    if found is None:
        raise unknown_name("recipe", base, recipe_names(), f"{path}: base")
    if found in (path, *above):
        raise UserError(f"{path}: base: {base} is based on this recipe itself; a recipe cannot be its own base")
    return {**_read_recipe(found, (path, *above)), **mapping}


def _section_file(section: str, name: str, recipe: Path) -> Path:
    """Find ``<section>/<name>.yaml`` beside the recipe's folder or in the shipped ``configs/``."""
    for root in (recipe.resolve().parent.parent, configs_dir()):
        candidate = root / section / f"{name}.yaml"
        if candidate.is_file():
            return candidate
    known = sorted(path.stem for path in (configs_dir() / section).glob("*.yaml"))
    raise unknown_name(f"{section} configuration", name, known, str(recipe))


def _apply(mapping: dict[str, Any], override: str) -> None:
    """Set one dotted key; a later check of all keys finds unknown ones."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {override}: write it as section.key=value, for example train.seed=1")
    target: Any = mapping
    *parents, last = key.split(".")
    for parent in parents:
        target = target.setdefault(parent, {})
        if not isinstance(target, dict):
            raise UserError(f"--set {override}: {parent!r} is not a section")
    try:
        target[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"--set {override}: the value is not valid YAML") from None
