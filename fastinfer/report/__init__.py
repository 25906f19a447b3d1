"""The report on a folder of results: a page for a browser, pictures for a terminal."""
