"""What a project's rules and Harbor's mode refuse to an account that has the right (observed-harbor.md 6.4)."""

from __future__ import annotations

from collections.abc import Mapping

from app.training.world.others import Call, Reply, errors
from app.training.world.state import Project, State


def push_refused(state: State, project: Project, call: Call, base: Mapping[str, str]) -> tuple[Reply | None, str]:
    """(the refusal of a request that writes, the line that core logs of it); (None, "") where it passes."""
    if state.harbor.read_only:
        said = "The system is in read only mode. Any modification is prohibited."
        return errors(403, "DENIED", said, base), ""
    if project.quota >= 0 and project.used + call.size > project.quota:
        said = (
            f"adding {_mib(call.size)} of storage resource, which when updated to current usage of {_mib(project.used)} "
            f"will exceed the configured upper limit of {_mib(project.quota)}."
        )
        line = f'reserve resources {{"storage":{call.size}}} for project {project.id} failed, error: Quota exceeded when processing the request of {said}: {said}'
        return errors(403, "DENIED", said, base), line
    project.used += call.size
    return None, ""


def pull_refused(project: Project, image: str, base: Mapping[str, str]) -> Reply | None:
    """The 412 for an image that was not scanned, where a rule of the project holds such images back."""
    if not project.prevent or image in project.scanned:
        return None
    said = (
        "current image without vulnerability scanning cannot be pulled due to configured policy in 'Prevent images with vulnerability severity of "
        f'"{project.prevent.capitalize()}" or higher from running.\' To continue with pull, please contact your project administrator for help.'
    )
    return errors(412, "PROJECTPOLICYVIOLATION", said, base)


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
