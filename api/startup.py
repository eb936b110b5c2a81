"""Why the program does not start.

StartupError            one line for the person at the terminal, exit code 2
└── SettingsError       a variable is missing or wrong: names it and the remedy (api/settings)
"""


class StartupError(Exception):
    """Its text is one line that says what is wrong and what to do."""
