"""Answers about months that retention has dropped: read from ARCHIVE_DIRECTORY and joined with what the database holds.

In: a period, a device, the rows of the database. Out: the rows with the archived readings, or an error that says what is missing.
"""
