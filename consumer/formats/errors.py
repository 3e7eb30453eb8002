"""What can go wrong with a schema."""


class RegistryUnavailableError(Exception):
    """No schema registry has answered a question; asking again may help. The message says which, and why."""


class SchemaNotFoundError(Exception):
    """The registry has answered that it does not have the schema."""


class IncompatibleSchemaError(Exception):
    """Records of a schema cannot be read; the message names each field that is missing or of another type."""
