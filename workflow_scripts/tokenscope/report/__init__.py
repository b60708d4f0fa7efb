"""The report: what a study plans to show, verdicts by written criteria, and the page."""
