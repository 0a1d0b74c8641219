"""Packaging entry point; the metadata lives in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["ernie_paddle*", "propeller*", "reader*"]), "ernie_paddle.configs"],
    package_dir={"ernie_paddle.configs": "configs"},
    package_data={"ernie_paddle.configs": ["*.yaml", "*/*.yaml"]},
)
