"""Connections under uvloop."""


def is_closed_transport(error: BaseException) -> bool:
    """Whether an error says that a connection was lost and that its owner does not know yet.

    asyncio ignores what is written to such a transport; uvloop raises RuntimeError.
    """
    return isinstance(error, RuntimeError) and "the handler is closed" in str(error)
