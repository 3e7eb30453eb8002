"""The move of devices from one cell to another, with all that is stored of them: their readings are in one cell or the other.

devices of the range -> groups of assigned ones -> a portion at a time: copy -> compare -> commit there -> delete here
"""
