"""The recipes of docs/recipes, tried: `python -m tests.recipes NAME` executes the commands of a page while readings flow."""
