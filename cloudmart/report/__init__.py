"""The cost report of a stack: one page of HTML, and the same as Markdown for a pull request."""
