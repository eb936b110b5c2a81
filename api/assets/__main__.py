"""`python -m api.assets`: are the vendored files those that the manifest names?"""

import sys

from api.assets import mistakes


def main() -> int:
    wrong = mistakes()
    print("\n".join(wrong) or "vendored assets are as the manifest lists them", file=sys.stderr)  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
