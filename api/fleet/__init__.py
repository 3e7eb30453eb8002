"""The state of the whole fleet.

In: the results of the last fleet evaluation and the newest readings. Out: the fleet summary, the reading rate, live updates for
event streams. Requests for the same summary share the work.
"""
