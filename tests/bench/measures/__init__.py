"""One module a measure, named as in `make bench ONLY=measure`: takes the harness, yields results."""
