"""What a pod's events say of its attempts (harbor-and-kubernetes.md G.1)."""

from __future__ import annotations

from app.parsers.kube_objects import Object, event_text


def is_try(event: Object) -> bool:
    """An event of an attempt to pull; a back-off is the time between two."""
    return event.get("reason") == "Pulling" or (
        event.get("reason") == "Failed"
        and event_text(event).startswith(("Failed to pull image", "Error: ErrImagePull", "Error: illegal base64"))
    )
