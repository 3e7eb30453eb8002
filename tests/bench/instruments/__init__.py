"""What a measure observes with: consumers that drain a backlog, CPU time, HTTP load from wrk, medians of results."""
