"""Rule content as data: symptoms, findings, facts, fixes and scenarios in YAML."""
