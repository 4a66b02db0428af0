"""A shop of a team's own: the files of a new project, which builds on the installed package."""
