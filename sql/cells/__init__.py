"""The move of devices from one cell to another, with all that is stored of them: their readings are in one cell or the other.

devices of the range -> groups that are assigned to each other -> a portion at a time: copy -> compare -> commit there -> delete here
"""
