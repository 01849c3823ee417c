"""The page's model files are no test modules: each imports its parts from beside it."""

collect_ignore_glob = ["model_file_page_*.py"]
