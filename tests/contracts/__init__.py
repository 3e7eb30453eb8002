"""The machine-readable contracts: OpenAPI and AsyncAPI documents written from the code, and comparisons of two versions."""
