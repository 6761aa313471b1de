# Run on a host by the peers, after the files are there: what the kit's own transaction checks.
set -eu
app=$1
nginx -t -q
cd "/opt/$app/current/app"
set -a
. /etc/origin-kit/current/secrets.env
. /etc/origin-kit/current/environment
exec runuser -u "$app" -- ../venv/bin/python manage.py check --deploy --fail-level ERROR
