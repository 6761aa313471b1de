fetch('/api/plants/').then(show)
