fetch('data.json'); fetch('/app.js')
