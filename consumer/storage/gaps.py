"""Is the stored offset still in Kafka's log?"""


def gap_between(stored: int, beginning: int, end: int) -> str | None:
    """None when the log [beginning, end) can be read from `stored` on, else what is missing, in words."""
    if stored < beginning:
        return f"records {stored} to {beginning - 1} are gone from Kafka unread"
    if stored > end:
        return f"offset {stored} is stored but the log ends at {end}: the topic was made anew or lost records"
    return None
