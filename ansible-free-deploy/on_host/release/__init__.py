"""The application on this host: releases, the Python environments that they run in, and switching
between them."""
