"""Orchestration: material to evidence to steps, headless and behind the screens."""
