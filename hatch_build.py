"""Put the plugin folders into the wheel under m1eval/plugins; an editable install reads them from the checkout."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDERS = ("runners", "scorers", "tasks", "results/baselines")


class PluginFolders(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the folders to standard builds only: a static force-include leaves stale copies in editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name what goes where."""
        if version == "standard":
            build_data["force_include"] |= {folder: f"m1eval/plugins/{folder}" for folder in FOLDERS}
