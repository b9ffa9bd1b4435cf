"""`python -m mlpax`, and the `mlpax` command."""

from mlpax.cli.main import main

if __name__ == "__main__":
    main()
