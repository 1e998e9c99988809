"""The report of a sweep: tables, pictures, HTML, Markdown and CSV."""
