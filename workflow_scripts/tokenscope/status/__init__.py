"""Where a study stands while it runs: read in order graph, events, jobs, summary, text, watch."""
